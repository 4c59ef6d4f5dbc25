"""The data directory: its folders with their modes, and the lock that lets one server hold it.

Called by `platformd.app` and `restore` before anything else touches the directory. Main thread.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from platformd.errors import Conflict

# The task's user must reach the artifacts and its working directory, and nothing else.
FOLDERS = {
    "": 0o711,
    "run": 0o700,
    "keys": 0o700,
    "work": 0o711,
    "logs": 0o700,
    "artifacts": 0o711,
    "builds": 0o711,
    "volumes": 0o711,
}


def prepare(root: Path) -> None:
    """Make the folders, or set existing ones to their modes; OSError says what cannot be had."""
    for name, mode in FOLDERS.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)


class Lock:
    """Held by one server for its life. Never inherited by a child."""

    def __init__(self, root: Path) -> None:
        self._path = root / "serve.lock"
        self._fd: int | None = None

    def __enter__(self) -> Lock:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 4096, 0).decode(errors="replace") or "an unknown process"
            os.close(fd)
            raise Conflict(
                f"{self._path.parent} is held by another server: {holder}. Stop it, or use another --data-dir",
                code="DATA_DIRECTORY_HELD",
            ) from None
        self._fd = fd
        self.describe(f"pid {os.getpid()}")
        return self

    def describe(self, holder: str) -> None:
        """What a second server is told."""
        assert self._fd is not None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, holder.encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
