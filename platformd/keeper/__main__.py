"""Entry of the keeper process: `python -I -S <this folder> --data-dir DIR [--grace SECONDS]`.

Detaches first, before anything large is loaded: the process that was started waits until its grandchild listens
and ends with 0 then, with 3 when another keeper holds the data directory, else with 1 and the reason on stderr.
`--resume FD` is how the keeper itself starts its next version in place. The folder poses as a package, so that its
modules import each other without anything of the service on the path.
"""

from __future__ import annotations

import os
import sys

ALREADY_RUNS = 3
_LOG = "run/keeper.log"
_LOG_BYTES = 1_000_000


def main(arguments: list[str]) -> int:
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    resume = int(options.get("--resume", -1))
    ready = -1 if resume >= 0 else _detach(options["--data-dir"])
    _load_package()
    from keeper.process import run  # type: ignore[import-not-found]

    return int(run(ready, float(options.get("--grace", 20.0)), resume))


def _detach(data_dir: str) -> int:
    """Go on as a process of nobody, in its own session, inside the data directory: the pipe to report to."""
    receiver, ready = os.pipe()
    if os.fork() > 0:
        os.close(ready)
        report = os.read(receiver, 65536).decode("utf-8", "replace")
        if report != "ok":
            os.write(2, (report or "the keeper ended before it listened; see run/keeper.log\n").encode())
        os._exit(0 if report == "ok" else ALREADY_RUNS if report.startswith("already") else 1)
    os.close(receiver)
    os.setsid()  # a forked child leads no group, so this cannot fail
    os.chdir(data_dir)
    os.umask(0o022)
    os.makedirs("run", 0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    log = os.open(_LOG, flags, 0o600)
    if os.fstat(log).st_size > _LOG_BYTES:
        os.ftruncate(log, 0)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number, fd in enumerate((null, log, log)):
        os.dup2(fd, number)
    os.close(log)
    os.close(null)
    return ready


def _load_package() -> None:
    """Make `keeper` the name of this folder."""
    from types import ModuleType

    package = ModuleType("keeper")
    package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
    sys.modules["keeper"] = package


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
