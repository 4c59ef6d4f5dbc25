"""Reaching the keeper: connecting to the one that runs, or starting one.

Called by the link on a worker thread, since both may block.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from platformd import clock
from platformd.errors import Unavailable
from platformd.keeper import wire

KEEPER_DIR = Path(wire.__file__).parent
ALREADY_RUNS = 3
START_SECONDS = 10.0
_RETRY_SECONDS = 0.01
_ABSENT = (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE)


class KeeperUnavailable(Unavailable):
    """There is no keeper at the moment; another is being started."""

    code = "KEEPER_UNAVAILABLE"


def command(grace: float | None = None) -> list[str]:
    """How the keeper of this installation is run; `grace` seconds it waits for serve to come back."""
    line = [sys.executable, "-I", "-S", str(KEEPER_DIR)]
    return line if grace is None else [*line, "--grace", str(grace)]


def start(data_dir: Path, grace: float | None = None) -> None:
    """Start a keeper that is nobody's child and listens when this returns; fine if one runs already."""
    done = subprocess.run(
        [*command(grace), "--data-dir", str(data_dir)],
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        timeout=START_SECONDS,
        check=False,
    )
    if done.returncode not in (0, ALREADY_RUNS):
        reason = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
        raise KeeperUnavailable(f"the keeper of {data_dir} does not start: {reason}")


def reach(data_dir: Path, grace: float | None = None) -> socket.socket:
    """A connection to the keeper of `data_dir`, which is started if need be."""
    deadline = clock.monotonic() + START_SECONDS
    pause = threading.Event()
    while True:
        try:
            return wire.connect(data_dir / "run")
        except OSError as error:
            if error.errno not in _ABSENT:
                raise KeeperUnavailable(f"the keeper of {data_dir} cannot be reached: {error}") from error
            if clock.monotonic() > deadline:
                raise KeeperUnavailable(
                    f"no keeper of {data_dir} within {START_SECONDS} s: {error}"
                ) from error
        start(data_dir, grace)
        pause.wait(_RETRY_SECONDS)
