"""The C programs that measurements are compared with: compiled when a measurement begins, from the sources here.

Called by the measurements; single-threaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent
# Beside the ports that the measured server gives its tasks, so that the two cannot meet.
TASK_PORTS = "20000-26999"
FLOOR_PORTS = range(27000, 30000)
_PATIENCE_SECS = 120


class CannotMeasure(Exception):
    """Something that the measurement needs is not there, or did not work; the text says what to do."""


class Floors:
    """`server` is the compiled web server, which measured apps run, too."""

    def __init__(self, folder: Path) -> None:
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        if compiler is None:
            raise CannotMeasure(
                "there is no C compiler, and without one no floor to compare with; install gcc"
            )
        self.server = _compiled(compiler, SOURCES / "server.c", folder / "server")
        self._floor = _compiled(compiler, SOURCES / "floor.c", folder / "floor")
        self._next_port = FLOOR_PORTS.start

    def one_by_one(self, count: int, spacing_ms: int) -> list[float]:
        """Seconds from spawn to answer, `count` times."""
        return self._run("one", count, str(spacing_ms))

    def all_at_once(self, count: int) -> float:
        """Seconds until the last of `count` servers answered."""
        return self._run("all", count)[0]

    def _run(self, how: str, count: int, *more: str) -> list[float]:
        command: list[str | Path] = [
            self._floor,
            how,
            self.server,
            str(self._ports(count)),
            str(count),
            *more,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECS, check=False)
        if done.returncode != 0:
            raise CannotMeasure(f"the C floor did not work: {done.stderr.strip() or 'no answer'}")
        return [int(line) / 1e6 for line in done.stdout.split()]

    def _ports(self, count: int) -> int:
        """The first of `count` ports, others each time: connections of the last time linger."""
        if self._next_port + count > FLOOR_PORTS.stop:
            self._next_port = FLOOR_PORTS.start
        first = self._next_port
        self._next_port += count
        return first


def _compiled(compiler: str, source: Path, target: Path) -> Path:
    """Linked statically where that works: nothing starts faster."""
    for static in (["-static"], []):
        command: list[str | Path] = [compiler, "-O2", *static, "-o", target, source]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            target.chmod(0o755)
            return target
    raise CannotMeasure(f"{compiler} does not compile {source.name}:\n{done.stderr[-1000:]}")


def tool(name: str, package: str) -> str:
    """The path of a program, also where only root looks."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        raise CannotMeasure(f"{name} is not there; install {package} (Debian, Ubuntu)")
    return found
