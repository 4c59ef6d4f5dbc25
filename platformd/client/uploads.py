"""Sending a file to a server from disk, block by block. Used by the clients; one thread at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from platformd.client.errors import ClientError
from platformd.client.network import BLOCK

Progress = Callable[[int, int], None]  # bytes sent, bytes in all


class OutgoingFile:
    """An open file as a request's body: exactly as long as it was when it was opened, telling how far it got."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path, self._progress = path, progress
        try:
            self._file: IO[bytes] = path.open("rb", buffering=0)
            self.length = os.fstat(self._file.fileno()).st_size
            self.sha256 = hashlib.file_digest(self._file, "sha256").hexdigest()
            self._file.seek(0)
        except OSError as error:
            raise ClientError(f"{path} cannot be read: {error.strerror}") from error
        self._left = self.length
        self.headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self.length),
            "X-Content-SHA256": self.sha256,
        }

    def __enter__(self) -> OutgoingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def block(self, size: int = BLOCK) -> bytes:
        """The next block; fewer bytes than were promised would leave the server waiting for them."""
        wanted = min(size, self._left)
        try:
            block = self._file.read(wanted)
        except OSError as error:
            raise ClientError(f"{self._path} cannot be read: {error.strerror}") from error
        if wanted and not block:
            raise ClientError(f"{self._path} became shorter while it was sent")
        self._left -= len(block)
        self._progress(self.length - self._left, self.length)
        return block


def unwatched(_sent: int, _total: int) -> None:
    """The progress callback of those who do not look."""
