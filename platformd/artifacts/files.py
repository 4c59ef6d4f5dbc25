"""The bytes of artifacts: streamed to disk, checked, stored once under their SHA-256, never changed afterwards.

Called by the upload and download handlers and by whoever needs an executable's path. Everything here blocks on the
disk and works on any thread; one `Upload` belongs to one thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from pathlib import Path

from platformd.durable import sync_folder
from platformd.errors import Fault, Invalid, NoSpace
from platformd.ids import new_id

FOLDER_MODE = 0o711
FILE_MODE = 0o555
_UNFINISHED = ".upload-"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HEAD = 4
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _head(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _HEAD)
    finally:
        os.close(descriptor)


class ArtifactFiles:
    """A folder of executables. The folder can be entered but not listed by others, so that a task's user reaches
    the one it is told of."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(FOLDER_MODE)
        self._folder = folder
        for unfinished in folder.glob(_UNFINISHED + "*"):
            unfinished.unlink(missing_ok=True)

    def open(self) -> Upload:
        """A place for bytes to come; `NoSpace` when the disk is full."""
        return Upload(self._folder)

    def path(self, sha256: str) -> Path:
        """Where the bytes with this digest are, or would be."""
        return self._folder / sha256

    def kind(self, sha256: str) -> str:
        """ "elf" or "script" (`#!`) for what a kernel starts, else "unknown"; also when the bytes are gone."""
        try:
            head = _head(self.path(sha256))
        except FileNotFoundError:
            return "unknown"
        if head == b"\x7fELF":
            return "elf"
        return "script" if head.startswith(b"#!") else "unknown"

    def set_aside(self, sha256: str) -> Callable[[], None]:
        """Take the bytes away at once; what is returned frees their space, and may be called on any thread."""
        spare = self._folder / f"{_UNFINISHED}{new_id()}"
        with contextlib.suppress(FileNotFoundError):
            self.path(sha256).replace(spare)
        return partial(spare.unlink, missing_ok=True)

    def sweep(self, known: Collection[str], before: datetime) -> int:
        """Remove bytes that no artifact has and that came before the instant; how many there were. Younger ones may be
        about to be recorded."""
        strays = [self.path(sha256) for sha256 in self.present() if sha256 not in known]
        return sum(self._sweep(path, before) for path in strays)

    def present(self) -> list[str]:
        """The digests of all there are."""
        return [path.name for path in self._folder.iterdir() if _SHA256.fullmatch(path.name)]

    def _sweep(self, stray: Path, before: datetime) -> bool:
        if not _came_before(stray, before):
            return False
        spare = self._folder / f"{_UNFINISHED}{new_id()}"
        with contextlib.suppress(FileNotFoundError):
            stray.replace(spare)
            if _came_before(spare, before):
                spare.unlink()
                return True
            spare.replace(stray)  # the same bytes were uploaded anew between the two looks
        return False


class Measure:
    """Bytes on their way, of which nothing is kept but how many they are and their digest."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append."""
        self._digest.update(chunk)
        self._size += len(chunk)

    def finish(
        self, expected_length: int | None = None, expected_sha256: str | None = None
    ) -> tuple[str, int]:
        """(sha256, size). `Invalid` when it is not what was announced."""
        sha256 = self._digest.hexdigest()
        faults = self._faults(expected_length, expected_sha256, sha256)
        if faults:
            self.abort()
            raise Invalid(
                "the bytes that came are not those that were announced; send them again", faults=faults
            )
        return sha256, self._size

    def abort(self) -> None:
        """Leave nothing behind. Harmless after the end."""

    def _faults(self, length: int | None, expected_sha256: str | None, sha256: str) -> list[Fault]:
        faults = []
        if length is not None and length != self._size:
            faults.append(Fault("/Content-Length", f"{length} bytes were announced, {self._size} came"))
        if expected_sha256 is not None and expected_sha256.lower() != sha256:
            faults.append(Fault("/X-Content-SHA256", f"{expected_sha256} was announced, {sha256} came"))
        return faults


class Upload(Measure):
    """Bytes that are kept. Ends with `finish` or `abort`; until then nothing of it is visible."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._path = folder / f"{_UNFINISHED}{new_id()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._descriptor: int | None = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise _told(error, folder) from error

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append; `NoSpace` when the disk is full, and then the upload has been aborted."""
        assert self._descriptor is not None, "the upload has ended"
        super().write(chunk)
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self.abort()
            raise _told(error, self._folder) from error

    def finish(
        self, expected_length: int | None = None, expected_sha256: str | None = None
    ) -> tuple[str, int]:
        """Make it durable and visible: (sha256, size). `Invalid` and nothing kept when it is not what was announced."""
        assert self._descriptor is not None, "the upload has ended"
        sha256, size = super().finish(expected_length, expected_sha256)
        try:
            os.fchmod(self._descriptor, FILE_MODE)
            os.fsync(self._descriptor)
            self._close()  # before it gets its name: a file that is open for writing cannot be started
            self._path.replace(self._folder / sha256)
            sync_folder(self._folder)
        except OSError as error:
            self.abort()
            raise _told(error, self._folder) from error
        return sha256, size

    def abort(self) -> None:
        """Leave nothing behind. Harmless after the end."""
        self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _came_before(path: Path, instant: datetime) -> bool:
    try:
        return path.stat().st_mtime < instant.timestamp()
    except FileNotFoundError:
        return False


def _told(error: OSError, folder: Path) -> Exception:
    if error.errno in _FULL:
        return NoSpace(f"the disk of {folder} is full and nothing was kept; make room, then upload again")
    return error
