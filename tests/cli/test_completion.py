"""Shell completion: a real bash completes commands, apps and deployments of a running server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import Commands, program

BASH = shutil.which("bash")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the program `platformd` in it."""
    path = tmp_path / "platformd"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m platformd "$@"\n')
    path.chmod(0o755)
    return tmp_path


def completed(folder: Path, line: str, server: str) -> list[str]:
    """What bash offers at the end of `line`."""
    script = """
source <(platformd completion bash)
read -ra COMP_WORDS <<< "$1"
[[ $1 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_platformd_completion platformd
printf '%s\\n' "${COMPREPLY[@]}"
"""
    assert BASH is not None
    environ = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PLATFORMD_SERVER": server}
    done = subprocess.run(
        [BASH, "-c", script, "bash", line], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="bash is not there")
def test_bash_completes(installed: Path, shared: Commands, tiny: Path) -> None:
    shared("deploy", "team/completed", "--binary", tiny, "--replicas", "0")
    assert completed(installed, "platformd dep", shared.server) == ["deploy"]
    assert completed(installed, "platformd actors re", shared.server) == ["restart", "resume"]
    assert "--replicas" in completed(installed, "platformd deploy --re", shared.server)
    assert completed(installed, "platformd apps show team/c", shared.server) == ["team/completed"]
    assert completed(installed, "platformd status team/co", shared.server) == ["team/completed@1"]
    assert completed(installed, "platformd status team/co", "http://127.0.0.1:1") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for(shell: str) -> None:
    done = program("completion", shell)
    assert done.returncode == 0
    assert "_PLATFORMD_COMPLETE=" in done.stdout
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=done.stdout, capture_output=True, text=True, timeout=30)
        assert checked.returncode == 0, checked.stderr


def test_another_shell_is_wrong_usage() -> None:
    assert program("completion", "tcsh").returncode == 2
