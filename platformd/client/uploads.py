"""Sending a file to a server from disk, block by block. Used by `Client`; the caller's thread."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from platformd.client.errors import ClientError

Progress = Callable[[int, int], None]  # bytes sent, bytes in all


class OutgoingFile(io.RawIOBase):
    """An open file as a request's body: exactly as long as it was when it was opened, telling how far it got."""

    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__()
        self._path, self._progress = path, progress
        try:
            self._file: IO[bytes] = path.open("rb", buffering=0)
            self.length = os.fstat(self._file.fileno()).st_size
            self.sha256 = hashlib.file_digest(self._file, "sha256").hexdigest()
            self._file.seek(0)
        except OSError as error:
            raise ClientError(f"{path} cannot be read: {error.strerror}") from error
        self._left = self.length

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self.length),
            "X-Content-SHA256": self.sha256,
        }

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next block; fewer bytes than were promised would leave the server waiting for them."""
        wanted = self._left if size < 0 else min(size, self._left)
        try:
            block = self._file.read(wanted)
        except OSError as error:
            raise ClientError(f"{self._path} cannot be read: {error.strerror}") from error
        if wanted and not block:
            raise ClientError(f"{self._path} became shorter while it was sent")
        self._left -= len(block)
        self._progress(self.length - self._left, self.length)
        return block

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def unwatched(_sent: int, _total: int) -> Any:
    """The progress callback of those who do not look."""
