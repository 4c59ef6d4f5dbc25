"""The format of stored output, and the writer of it.

`logs/<deployment>/<task>/<first id>.seg` is a row of frames. A frame holds whole lines of one stream that
arrived together; line n of it has the id first + n. Its length stands at both ends, so a file is walked either
way. An OPEN frame keeps the beginning of a line whose end has not come yet: readers skip it, a later keeper
picks it up. A frame torn by a crash is recognised by its ends and overwritten by the next keeper. A file's name
`<last id>.dropped` says up to where lines are gone. The writer is the keeper alone; the walking functions are pure
and used by the log store too.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Buffer = bytes | bytearray | memoryview

SYSTEM, STDOUT, STDERR = 0, 1, 2
STREAMS = ("system", "stdout", "stderr")
LINES, OPEN = 0, 1

SEGMENT_BYTES = 10_000_000
SEGMENTS = 10
LINE_BYTES = 64 * 1024
SUFFIX = ".seg"
DROPPED = ".dropped"

_MAGIC = b"\xf5L"
# magic, stream, kind, bytes of payload, lines, bytes dropped, first id (OPEN: where in its line it begins)
_HEADER = struct.Struct("<2sBBIIIQ")
_TRAILER = struct.Struct("<I")  # bytes of the whole frame
OVERHEAD = _HEADER.size + _TRAILER.size
_MAX_PAYLOAD = 4 * LINE_BYTES
_FIRST_WINDOW, _WINDOW = 4 * 1024, 256 * 1024
_OPEN_REACH = 1024 * 1024
_U32 = 0xFFFFFFFF


class Frame:
    """The header of one frame: where it lies and which lines it holds."""

    __slots__ = ("count", "dropped", "first", "kind", "length", "offset", "stream")

    def __init__(
        self, offset: int, stream: int, kind: int, length: int, count: int, dropped: int, first: int
    ) -> None:
        self.offset, self.stream, self.kind, self.length = offset, stream, kind, length
        self.count, self.dropped, self.first = count, dropped, first

    @property
    def end(self) -> int:
        return self.offset + OVERHEAD + self.length

    @property
    def last(self) -> int:
        """The id of its last line."""
        return self.first + self.count - 1


def frame(
    stream: int, kind: int, payload: Sequence[Buffer], count: int, first: int, dropped: int = 0
) -> list[Buffer]:
    """The buffers of one frame, ready to be written in a row."""
    length = sum(map(len, payload))
    header = _HEADER.pack(_MAGIC, stream, kind, length, count, min(dropped, _U32), first)
    return [header, *payload, _TRAILER.pack(length + OVERHEAD)]


def payload(fd: int, of: Frame) -> bytes:
    """The bytes a frame holds."""
    return os.pread(fd, of.length, of.offset + _HEADER.size)


def split(data: bytes) -> list[bytes]:
    """The lines in a frame's bytes, without their newlines."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def walk(fd: int, start: int, end: int) -> Iterator[Frame]:
    """Frames from `start` forward; stops at `end` or where no whole frame lies."""
    window, base = b"", start
    at = start
    while at + OVERHEAD <= end:
        if at + _HEADER.size > base + len(window):
            window, base = os.pread(fd, min(_WINDOW, end - at), at), at
        found = _parse(window, at - base, at)
        if found is None or found.end > end or not _closed(fd, found, window, base):
            return
        yield found
        at = found.end


def walk_back(fd: int, end: int) -> Iterator[Frame]:
    """Frames before `end`, newest first; stops at the beginning or where no whole frame ends."""
    window, base, reach = b"", end, _FIRST_WINDOW
    while end >= OVERHEAD:
        if end - _TRAILER.size < base:
            base = max(0, end - reach)
            window, reach = os.pread(fd, end - base, base), min(2 * reach, _WINDOW)
        trailer = window[end - base - _TRAILER.size : end - base]
        size = int.from_bytes(trailer, "little")
        start = end - size
        if len(trailer) < _TRAILER.size or start < 0 or size > _MAX_PAYLOAD + OVERHEAD:
            return
        if start < base:
            base = max(0, end - max(size, reach))
            window, reach = os.pread(fd, end - base, base), min(2 * reach, _WINDOW)
        found = _parse(window, start - base, start)
        if found is None or found.end != end:
            return
        yield found
        end = start


def _parse(window: bytes, index: int, offset: int) -> Frame | None:
    if index < 0 or index + _HEADER.size > len(window):
        return None
    magic, stream, kind, length, count, dropped, first = _HEADER.unpack_from(window, index)
    if magic != _MAGIC or stream >= len(STREAMS) or kind > OPEN or length > _MAX_PAYLOAD:
        return None
    return Frame(offset, stream, kind, length, count, dropped, first)


def _closed(fd: int, found: Frame, window: bytes, base: int) -> bool:
    at = found.end - _TRAILER.size
    if at + _TRAILER.size <= base + len(window):
        raw = window[at - base : at - base + _TRAILER.size]
    else:
        raw = os.pread(fd, _TRAILER.size, at)
    return raw == _TRAILER.pack(found.length + OVERHEAD)


def sound_end(fd: int, size: int) -> int:
    """Where the last whole frame ends: `size`, unless a crash tore the tail."""
    if size == 0 or next(walk_back(fd, size), None) is not None:
        return size
    end = 0
    for found in walk(fd, 0, size):
        end = found.end
    return end


def last_id(fd: int, size: int) -> int | None:
    """The id of the last line in a segment, None when it holds none."""
    for found in walk_back(fd, sound_end(fd, size)):
        if found.kind == LINES:
            return found.last
    return None


def open_line(fd: int, size: int, stream: int) -> bytes:
    """The beginning of a line of `stream` whose end was not stored, sought in the last MiB of a segment."""
    parts: list[Frame] = []
    for found in walk_back(fd, size):
        if size - found.offset > _OPEN_REACH or (found.stream == stream and found.kind == LINES):
            break
        if found.stream != stream:
            continue
        parts.append(found)
        if found.first == 0:
            break
    line = b""
    for part in reversed(parts):
        if part.first == len(line):
            line += payload(fd, part)
    return line


def first_ids(folder: str | os.PathLike[str]) -> list[int]:
    """What the segments of one task begin with, oldest first; empty when there is no such folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())


def dropped(folder: str | os.PathLike[str]) -> int:
    """The highest id that was noted to be dropped from `folder`; 0 when nothing was."""
    return max(_noted(folder), default=0)


def note_dropped(folder: str | os.PathLike[str], last: int) -> None:
    """Leave behind, in a file's name, that lines up to the id `last` are not kept any more. A full disk takes no
    note."""
    older = _noted(folder)
    try:
        os.close(os.open(f"{os.fspath(folder)}/{last}{DROPPED}", os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError:
        return
    for id in older:
        if id != last:
            os.unlink(f"{os.fspath(folder)}/{id}{DROPPED}")


def _noted(folder: str | os.PathLike[str]) -> list[int]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(DROPPED) for name in names if name.endswith(DROPPED))
    return [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]


class Writer:
    """Appends frames to the segments of one task, rotates between frames, drops the oldest segment."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.fd = -1
        self.size = 0
        self.segments = first_ids(folder)

    def needs_new_segment(self, size: int) -> bool:
        """True when `size` more bytes begin a segment."""
        if self.fd < 0:
            self._reopen()
        return self.fd < 0 or (self.size > 0 and self.size + size > SEGMENT_BYTES)

    def position(self) -> tuple[int, int]:
        """(first id of the segment being written, its size), 0 where there is none."""
        if self.fd < 0:
            self._reopen()
        return (self.segments[-1], self.size) if self.fd >= 0 else (0, 0)

    def begin_segment(self, first: int) -> None:
        """Start the segment whose lines have ids from `first` on."""
        self.close()
        os.makedirs(self.folder, 0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self.fd, self.size = os.open(self._path(first), flags, 0o600), 0
        if first not in self.segments:
            self.segments.append(first)
        while len(self.segments) > SEGMENTS:
            self._drop(self.segments.pop(0))

    def append(self, buffers: list[Buffer], size: int) -> None:
        """Write `buffers` whole or, on OSError, not at all."""
        try:
            written = os.writev(self.fd, buffers)
        except OSError:
            self._trim()
            raise
        if written != size:
            self._trim()
            raise OSError(28, f"only {written} of {size} bytes were written")
        self.size += size

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _reopen(self) -> None:
        """Go on with the newest segment, without the tail a crash may have torn."""
        if not self.segments:
            return
        try:
            fd = os.open(self._path(self.segments[-1]), os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            self.segments = first_ids(self.folder)
            return
        size = os.fstat(fd).st_size
        end = sound_end(fd, size)
        if end < size:
            os.ftruncate(fd, end)
        self.fd, self.size = fd, end

    def _trim(self) -> None:
        try:
            os.ftruncate(self.fd, self.size)
        except OSError:
            self.close()  # the next append finds the sound end by itself

    def _path(self, first: int) -> str:
        return f"{self.folder}/{first}{SUFFIX}"

    def _drop(self, first: int) -> None:
        """Remove a segment; the id of its last line stays behind."""
        path = self._path(first)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            last = last_id(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)
        if last is not None:
            note_dropped(self.folder, last)
        os.unlink(path)
