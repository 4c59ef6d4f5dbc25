"""The two commands of the README: the test command is one line, and .ci/run runs that very line."""

from __future__ import annotations

import re
import subprocess

from tests.architecture.house import ROOT

README = (ROOT / "README.md").read_text()


def block_after(marker: str) -> list[str]:
    """The lines of the first code block after `marker`."""
    return README.split(marker, 1)[1].split("```sh\n", 1)[1].split("```", 1)[0].splitlines()


def test_the_test_command_is_one_line() -> None:
    [line] = block_after("<!-- test-command -->")
    assert (
        line == "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m tests"
    )


def test_ci_runs_the_line_of_the_readme() -> None:
    [line] = block_after("<!-- test-command -->")
    shown = subprocess.run(
        [ROOT / ".ci" / "run", "--command"], cwd="/", capture_output=True, text=True, check=True
    )
    assert shown.stdout == line + "\n"
    script = (ROOT / ".ci" / "run").read_text()
    assert script.rstrip().endswith('eval "$test_command"')
    commands = re.sub(r"#.*", "", script)
    assert not re.search(r"pytest|-m tests|\bruff\b|\bmypy\b|pip install", commands)


def test_the_run_command_is_one_line() -> None:
    [line] = block_after("## Run it")
    assert line == "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/platformd demo"
