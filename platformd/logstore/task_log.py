"""Reading the segments of one task, forward from an id or backward from the newest, without loading them.

Called by the store, any thread. The keeper may be writing meanwhile: what is not whole yet is not seen yet, and a
segment that is rotated away under a reader is simply over.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformd.keeper import segments
from platformd.keeper.segments import Frame
from platformd.logstore.entries import Line

MAX_HINTS = 4096
_RETRIES = 3


class Hints:
    """Per segment, where reading went on to: all lines above an id lie at or after an offset."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}

    def start(self, path: str, low: int) -> int:
        id, offset = self._known.get(path, (0, 0))
        return offset if id <= low else 0

    def note(self, path: str, id: int, offset: int) -> None:
        if len(self._known) >= MAX_HINTS:
            self._known.clear()  # a hint only saves time
        self._known[path] = (id, offset)


class TaskLog:
    """The stored lines of one task, in `folder`."""

    def __init__(self, folder: Path, hints: Hints) -> None:
        self.folder, self.task, self.hints = str(folder), folder.name, hints
        self.firsts = segments.first_ids(folder)

    def last_id(self) -> int:
        """0 when no line is stored."""
        for first in reversed(self.firsts):
            with self._open(first) as (_, fd):
                if fd >= 0 and (last := segments.last_id(fd, os.fstat(fd).st_size)) is not None:
                    return last
        return 0

    def forward(self, low: int, high: int, limit: int, stream: int | None) -> list[Line]:
        """The first `limit` lines with low < id <= high, oldest first."""
        found: list[Line] = []
        for first in self.firsts[max(0, bisect_right(self.firsts, low + 1) - 1) :]:
            if first > high or len(found) >= limit:
                break
            with self._open(first) as (path, fd):
                for frame in self._frames(path, fd, low):
                    if frame.first > high or len(found) >= limit:
                        break
                    found += [line for line in self._lines(fd, frame, stream) if low < line.id <= high]
                    self._note(path, frame, found[limit - 1].id if len(found) >= limit else frame.last)
        return found[:limit]

    def backward(self, low: int, high: int, limit: int, stream: int | None) -> list[Line]:
        """The last `limit` lines with low < id <= high, newest first."""
        found: list[Line] = []
        for first in reversed(self.firsts):
            with self._open(first) as (path, fd):
                newest = True
                for frame in self._frames_back(fd):
                    if frame.last <= low or len(found) >= limit:
                        return found[:limit]
                    if newest:
                        self._note(path, frame, frame.last)
                        newest = False
                    if frame.first <= high:
                        lines = self._lines(fd, frame, stream)
                        found += [line for line in reversed(lines) if low < line.id <= high]
            if first <= low:
                break
        return found[:limit]

    @contextmanager
    def _open(self, first: int) -> Iterator[tuple[str, int]]:
        """A segment's path and descriptor; -1 when it was rotated away."""
        path = f"{self.folder}/{first}{segments.SUFFIX}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield path, -1
            return
        try:
            yield path, fd
        finally:
            os.close(fd)

    def _frames(self, path: str, fd: int, low: int) -> Iterator[Frame]:
        if fd < 0:
            return
        for frame in segments.walk(fd, self.hints.start(path, low), os.fstat(fd).st_size):
            if frame.kind == segments.LINES and frame.last > low:
                yield frame

    def _frames_back(self, fd: int) -> Iterator[Frame]:
        if fd < 0:
            return
        for frame in segments.walk_back(fd, _sound_size(fd)):
            if frame.kind == segments.LINES:
                yield frame

    def _lines(self, fd: int, frame: Frame, stream: int | None) -> list[Line]:
        if stream is not None and frame.stream != stream:
            return []
        texts = segments.split(segments.payload(fd, frame))
        return [
            Line(id, self.task, frame.stream, text, frame.dropped)
            for id, text in enumerate(texts, frame.first)
        ]

    def _note(self, path: str, frame: Frame, id: int) -> None:
        self.hints.note(path, id, frame.offset)


def _sound_size(fd: int) -> int:
    """The size, unless a write is under way or was torn: then where the last whole frame ends."""
    for _ in range(_RETRIES):
        size = os.fstat(fd).st_size
        if size == 0 or next(segments.walk_back(fd, size), None) is not None:
            return size
    return segments.sound_end(fd, size)
