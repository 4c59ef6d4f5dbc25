"""Every command of the tree: it helps with an example, speaks JSON, says what its options mean, is in the manual."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from platformd.__main__ import main
from platformd.cli import project
from tests.cli import reference

COMMANDS = dict(reference.leaves())
WITHOUT_JSON = {"platformd serve", "platformd demo", "platformd completion"}


def test_the_tree_is_walked() -> None:
    assert {"platformd serve", "platformd actors resume", "platformd bench warm"} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_it_helps_with_an_example(path: str) -> None:
    shown = CliRunner().invoke(main, [*path.split()[1:], "--help"], prog_name="platformd")
    assert shown.exit_code == 0, shown.output
    assert f"Example: {path}" in " ".join(shown.output.split())


@pytest.mark.parametrize("path", COMMANDS)
def test_the_example_is_one_that_it_takes(path: str) -> None:
    """Parsed, not run; files that an option wants to see do not matter here."""
    command = COMMANDS[path]
    assert command.epilog is not None
    words = command.epilog.partition(f"Example: {path}")[2].partition(" > ")[0].split()
    given = [word for word in words if not word.startswith("./")]
    if given != words:
        words = [str(Path(__file__)) if word.startswith("./") else word for word in words]
    command.make_context(path, words, resilient_parsing=False)


@pytest.mark.parametrize("path", COMMANDS)
def test_each_option_says_what_it_means(path: str) -> None:
    silent = [
        parameter.opts
        for parameter in COMMANDS[path].params
        if isinstance(parameter, click.Option)
        and not (parameter.help or parameter.show_default or parameter.metavar == "N")
    ]
    assert not silent


@pytest.mark.parametrize("path", sorted(set(COMMANDS) - WITHOUT_JSON))
def test_it_speaks_json(path: str) -> None:
    assert "--json" in {option for parameter in COMMANDS[path].params for option in parameter.opts}


def test_the_page_is_made_from_the_commands() -> None:
    made = reference.page()
    assert reference.PAGE.read_text() == made, "write it anew: .venv/bin/python -m tests.cli.reference"


def test_the_pages_project_is_one(tmp_path: Path) -> None:
    (tmp_path / project.FILE).write_text(reference.HEAD.split("```yaml\n")[1].split("```")[0])
    found = project.load(tmp_path)
    assert found.app == "team/shop"
    assert found.artifact_path == tmp_path / "out" / "shop"
    assert found.body["networking"]["health_check"] == {"path": "/health", "interval": "10s", "timeout": "5s"}


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["depoly"], "deploy"), (["apps", "lsit"], "list"), (["bench", "wram"], "warm"), (["evnts"], "events")],
)
def test_an_unknown_command_is_answered_with_the_nearest(words: list[str], meant: str) -> None:
    done = CliRunner().invoke(main, words, prog_name="platformd")
    assert done.exit_code == 2
    assert f"'{meant}'" in done.output
