"""`python -m tests [PYTEST ARGUMENTS]`: every check there is, also after one failed.

Exits with the status of the first that failed. What came before pytest is shown once more in its summary, so
that its closing line is the last line printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent  # not resolved: a venv's python is a link to the system's

CHECKS = {
    "ruff check": [str(BIN / "ruff"), "check", "-q"],
    "ruff format": [str(BIN / "ruff"), "format", "--check", "-q"],
    "mypy": [sys.executable, "-m", "mypy", "--no-error-summary"],
    "lint-imports": [str(BIN / "lint-imports"), "--no-logo"],
}

WORKERS = ["-n", "logical", "--maxprocesses", "4", "--dist", "loadfile"]
"""One per core; most tests wait for real processes. A file is one worker's, for what its tests share."""


def main(arguments: list[str]) -> int:
    os.chdir(ROOT)
    stages, first_failure = [], 0
    for name, command in CHECKS.items():
        started = time.monotonic()
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        verdict = "FAILED" if result.returncode else "ok"
        stages.append(f"{name}: {verdict} ({time.monotonic() - started:.1f} s)")
        print(stages[-1], flush=True)
        if result.returncode:
            print(result.stdout, flush=True)
            first_failure = first_failure or result.returncode
    environment = os.environ | {"PLATFORMD_TEST_STAGES": "\n".join(stages)}
    tests = subprocess.run([sys.executable, "-m", "pytest", *WORKERS, *arguments], env=environment)
    return first_failure or tests.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
