"""What every module keeps to: length, docstring, no clock but ours, no words or calls that we never want."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.house import PACKAGES, ROOT, calls, modules, name_of, tree

CODE = modules(*PACKAGES)
TESTS = modules("tests")
KEEPER = ROOT / "platformd" / "keeper"
LOAD = ROOT / "tests" / "load"

CLOCKS = re.compile(
    r"time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|clock_gettime|clock_gettime_ns"
    r"|localtime|gmtime|sleep)|datetime\.(datetime|date)\.(now|utcnow|today)|uuid\.uuid1"
)
TOP_LEVEL = {
    "pyproject.toml",
    "setup.cfg",
    "README.md",
    "LICENSE",
    "platformd",
    "actors",
    "handlers",
    "tests",
}
MADE_BY_TOOLS = re.compile(r"\..*|build|dist|.*\.egg-info|__pycache__")


def test_there_is_code_to_look_at() -> None:
    assert len(CODE) > 15
    assert len(TESTS) > 5


@pytest.mark.parametrize("path", [*CODE, *TESTS], ids=name_of)
def test_modules_are_short_and_say_what_they_are(path: Path) -> None:
    length = len(path.read_text().splitlines())
    assert length <= 400, f"{name_of(path)} has {length} lines; split it by concern"
    assert ast.get_docstring(tree(path)), f"{name_of(path)} has no docstring; say its role and who calls it"


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_only_the_clock_reads_clocks(path: Path) -> None:
    """The keeper, stdlib only, reads its own."""
    if path == ROOT / "platformd" / "clock.py" or KEEPER in path.parents:
        return
    found = [f"{name_of(path)}:{line} {name}" for line, name in calls(path) if CLOCKS.fullmatch(name)]
    assert not found, "use platformd.clock"


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_what_is_never_written(path: Path) -> None:
    text = path.read_text()
    words = re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", text)
    names = [f"{line} {name}" for line, name in calls(path) if name in ("os.fork", "os.system", "os.popen")]
    if KEEPER in path.parents or path == ROOT / "platformd" / "links" / "keeper.py":
        names = [name for name in names if not name.endswith("os.fork")]  # a keeper's double fork
    keywords = [
        f"{node.value.lineno} {node.arg}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.keyword)
        and (node.arg == "preexec_fn" or (node.arg == "shell" and getattr(node.value, "value", None) is True))
    ]
    stubs = [
        f"{n.lineno} {n.id}"
        for n in ast.walk(tree(path))
        if isinstance(n, ast.Name) and n.id == "NotImplementedError"
    ]
    assert not [*words, *names, *keywords, *stubs], name_of(path)


@pytest.mark.parametrize("path", [path for path in TESTS if LOAD not in path.parents], ids=name_of)
def test_tests_wait_for_conditions_and_never_sleep(path: Path) -> None:
    """Load tests may: they pace what they send."""
    found = [f"{name_of(path)}:{line}" for line, name in calls(path) if name == "time.sleep"]
    assert not found, "wait for what you want to see: tests.support.eventually"


@pytest.mark.parametrize(
    "path", [p for p in CODE if KEEPER in p.parents and p.stem != "__main__"], ids=name_of
)
def test_the_keeper_lives_on_the_standard_library(path: Path, tmp_path: Path) -> None:
    """Each of its modules loads in an isolated interpreter without site-packages and without platformd."""
    (tmp_path / "keeper").symlink_to(KEEPER)
    module = ".".join(path.relative_to(KEEPER.parent).with_suffix("").parts).removesuffix(".__init__")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {module}"
    command = [sys.executable, "-I", "-S", "-B", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


def test_nothing_else_lies_at_the_top() -> None:
    found = {entry.name for entry in ROOT.iterdir() if not MADE_BY_TOOLS.fullmatch(entry.name)}
    assert found == TOP_LEVEL


def test_every_folder_with_code_is_a_package() -> None:
    """Else a plain install leaves it behind."""
    missing = {name_of(path.parent) for path in CODE if not (path.parent / "__init__.py").exists()}
    assert not missing


def test_every_lint_exception_has_a_reason() -> None:
    """In the configuration and beside each noqa; a type: ignore names what it ignores."""
    bare = [
        f"{name_of(path)}:{number}"
        for path in [*CODE, *TESTS]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"#[ ]noqa(?:: ?\w+(?:, ?\w+)*)?\s*$|#[ ]type: ignore(?!\[)", line)
    ]
    assert not bare
    settings = (ROOT / "pyproject.toml").read_text()
    lint = settings[settings.index("[tool.ruff.lint]") : settings.index("[tool.pytest")]
    exceptions = re.findall(r'^(?:\s+"[A-Z]+\d+",|"\S+" = \[.*?\]|ignore_\w+ = true).*$', lint, re.MULTILINE)
    assert exceptions
    assert not [line for line in exceptions if "#" not in line]
