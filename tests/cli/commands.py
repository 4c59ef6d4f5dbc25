"""The program as people run it: subprocesses against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.platform import Platform
from tests.support import eventually

FAILING = b"#!/bin/sh\necho looking for it\necho 'cannot find the database' >&2\nexit 3\n"
TALKING = b"""#!/bin/sh
i=0
while :; do i=$((i + 1)); echo "line $i"; sleep 0.02; done
"""


def program(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`platformd …`, without what this environment says about servers."""
    command = [sys.executable, "-m", "platformd", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORMD_")}
    return subprocess.run(command, capture_output=True, text=True, env=clean | environ, timeout=100)


@dataclass
class Commands:
    """Commands against one server."""

    platform: Platform
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def server(self) -> str:
        return self.platform.api_url

    def __call__(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = program(*arguments, PLATFORMD_SERVER=self.server, **self.environ)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)


class Running:
    """A command under way; `said` is all it printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path) -> None:
        self.process = process
        self._out = out

    @property
    def said(self) -> str:
        return self._out.read_text()

    def says(self, text: str, timeout: float = 20.0) -> str:
        """Waits for `text`; everything said."""
        try:
            eventually(lambda: text in self.said, timeout)
        except AssertionError:
            raise AssertionError(f"never said {text!r}:\n{self.said}") from None
        return self.said

    def interrupt(self, number: int = signal.SIGINT, timeout: float = 60.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout)


@contextmanager
def running(out: Path, *arguments: str | Path, **environ: str) -> Iterator[Running]:
    """A command whose stdout and stderr go to the file `out`; ended at the end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORMD_")}
    command = [sys.executable, "-m", "platformd", *map(str, arguments)]
    with out.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=clean | environ)
    try:
        yield Running(process, out)
    finally:
        process.terminate()  # in good order: a demo clears up after itself
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
