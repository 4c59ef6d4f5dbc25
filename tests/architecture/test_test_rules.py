"""The rules that conftest.py adds do fail what they are to fail: leaks, skips of what CI must have, second failures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.house import ROOT


def run_pytest(folder: Path, body: str, ci: str, root: Path | None = None) -> str:
    """What pytest says of a test file with `body` under the real conftest and configuration."""
    test = folder / "test_it.py"
    test.write_text("import os, subprocess, sys, threading\nimport pytest\n" + body)
    environment = os.environ | {"CI": ci, "COLUMNS": "200"}
    environment.pop("PLATFORMD_TEST_STAGES", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(root or folder), str(test)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.stdout + done.stderr


LEAKS = {
    "thread": "    threading.Thread(target=threading.Event().wait, name='stray', daemon=True).start()",
    "descriptor": "    os.pipe()",
    "child process": "    KEPT.append(subprocess.Popen(['cat'], stdin=subprocess.PIPE))",
}


@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_fails_the_test_that_made_it(kind: str, tmp_path: Path) -> None:
    said = run_pytest(tmp_path, f"KEPT = []\ndef test_it(no_leaks):\n{LEAKS[kind]}\n    KEPT.append(1)\n", "")
    assert "left behind:" in said
    assert f"{kind}: " in said
    assert "1 passed, 1 error" in said


def test_what_is_put_away_is_no_leak(tmp_path: Path) -> None:
    body = """
import asyncio
async def test_it(no_leaks):
    await asyncio.to_thread(os.getpid)
    threading.Thread(target=threading.Event().wait, args=(0.2,)).start()
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    os.close(os.open("/dev/null", os.O_RDONLY))
"""
    assert "1 passed in" in run_pytest(tmp_path, body, "")


SKIPS = """
@pytest.mark.needs("engine")
def test_marked():
    pytest.skip("no engine here")

@pytest.mark.needs("engine")
@pytest.mark.xfail(reason="known")
def test_expected():
    raise ValueError

def test_plain():
    pytest.skip("never mind")
"""


def test_a_skip_of_what_ci_must_have_is_a_failure(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, SKIPS, "true")
    assert "1 failed, 1 skipped, 1 xfailed" in said
    assert "needs engine and was skipped" in said
    assert "2 skipped, 1 xfailed" in run_pytest(tmp_path, SKIPS, "")


TRIES = """
TRIED = []
def test_once():
    TRIED.append(1)
    assert len(TRIED) == 2, "the first try"

def test_always():
    assert False
"""


def test_a_real_room_has_a_second_try_in_ci_and_says_so(tmp_path: Path) -> None:
    room = tmp_path / "tests" / "e2e"
    room.mkdir(parents=True)
    said = run_pytest(room, TRIES, "true", root=tmp_path)
    assert "1 failed, 1 passed, 2 rerun" in said
    assert "failed once: tests/e2e/test_it.py::test_once" in said and "the first try" in said
    assert "2 failed in" in run_pytest(room, TRIES, "", root=tmp_path)


def test_other_rooms_have_no_second_try(tmp_path: Path) -> None:
    assert "2 failed in" in run_pytest(tmp_path, TRIES, "true")
