"""Python scripts as executables that a task's account can start, wherever this installation's interpreter lies.

Used by `demo` and `bench`; single-threaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TASK_ACCOUNT = 65534  # under root, tasks run as nobody unless --run-as says otherwise
_LONGEST_INTERPRETER = 200  # the kernel reads 256 bytes of a #! line
_TRIAL_SECS = 20.0


@dataclass(frozen=True, slots=True)
class Script:
    """An executable file, and the flags of a server whose tasks can start it."""

    path: Path
    flags: tuple[str, ...] = ()


def executable(source: Path, target: Path, options: str = "") -> Script | None:
    """`source` at `target` with a #! line that works for the task's account; else for our own; None for neither.

    Found out by starting it with `--try`, at which it is to end at once: a path's modes do not tell whether an
    interpreter finds its library, or whether the file system lets anything be started.
    """
    own = os.geteuid()
    for account in (TASK_ACCOUNT, own) if own == 0 else (own,):
        for interpreter in _interpreters():
            target.write_text(f"#!{interpreter} {options}".rstrip() + "\n" + source.read_text())
            target.chmod(0o755)
            if _starts(target, account):
                flags = ("--run-as", f"{own}:{os.getegid()}") if account == own == 0 else ()
                return Script(target, flags)
    return None


def _interpreters() -> Iterator[str]:
    """This one first, without its virtual environment, which may lie where others cannot go."""
    found = (os.path.realpath(sys.executable), sys.executable, shutil.which("python3"), "/usr/bin/python3")
    for path in dict.fromkeys(found):
        if path and len(path) < _LONGEST_INTERPRETER and not any(letter.isspace() for letter in path):
            yield path


def _starts(target: Path, account: int) -> bool:
    other = {} if account == os.geteuid() else {"user": account, "group": account, "extra_groups": ()}
    try:
        tried: subprocess.CompletedProcess[bytes] = subprocess.run(
            [target, "--try"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            timeout=_TRIAL_SECS,
            check=False,
            **other,  # type: ignore[call-overload]
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0
