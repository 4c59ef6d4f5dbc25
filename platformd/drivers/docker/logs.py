"""A container's output: from the engine's stream to lines for the keeper, each exactly once.

The keeper stores, together with the lines, how far in the engine's own record they reach (`cursor`), so whoever follows
after a crash goes on right there. The two streams are stamped by two writers, so each has a cursor of its own: a
timestamp, and how many entries of that very timestamp were taken. Used in the streams' thread only.
"""

from __future__ import annotations

import calendar
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

NAMES = {1: "stdout", 2: "stderr"}
LAST_LINES, LAST_LINE_CHARS = 10, 500
LONGEST_KEPT = 1 << 18  # of one line; the keeper cuts it to what it stores
_HEADER = 8


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one stream was taken: `count` entries at `stamp` (ns since the epoch), and all before."""

    stamp: int = 0
    count: int = 0


@dataclass(slots=True)
class _Stream:
    cursor: Cursor = field(default_factory=Cursor)
    passed: int = 0
    """Entries at the cursor's stamp met again since the stream was opened."""
    begun: bytearray = field(default_factory=bytearray)
    read: Cursor = field(default_factory=Cursor)
    """As far as was read; the cursor follows at each line's end."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines of one stream in a row, and the cursor after them."""

    stream: str
    lines: list[str]
    cursor: str


class Unpacker:
    """Frames of the engine in, batches of lines out. One for each container; `reopened` when the stream begins anew."""

    def __init__(self, cursor: str = "") -> None:
        self._streams = {name: _Stream() for name in NAMES.values()}
        self._rest = b""
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        for name, (stamp, count) in _stored(cursor).items():
            stream = self._streams[name]
            stream.cursor = stream.read = Cursor(stamp, count)
        self._kept = {name: [one.cursor.stamp, one.cursor.count] for name, one in self._streams.items()}

    def reopened(self) -> str:
        """From when the engine should tell again ("seconds.nanoseconds"); "0" for all."""
        self._rest = b""
        for stream in self._streams.values():
            stream.passed = 0
            stream.begun.clear()
            stream.read = stream.cursor
        since = min(stream.cursor.stamp for stream in self._streams.values())
        return f"{since // 10**9}.{since % 10**9:09d}" if since else "0"

    def feed(self, piece: bytes) -> Iterator[Batch]:
        """The batches that `piece` completes."""
        current, lines, reached = "", list[str](), Cursor()
        for name, payload in self._frames(piece):
            stream = self._streams[name]
            line = self._entry(stream, payload)
            if line is None:
                continue
            if name != current and lines:
                yield self._batch(current, lines, reached)
                lines = []
            current, reached = name, stream.cursor
            lines.append(line)
        if lines:
            yield self._batch(current, lines, reached)

    def _batch(self, name: str, lines: list[str], reached: Cursor) -> Batch:
        self.last_lines.extend(line[:LAST_LINE_CHARS] for line in lines[-LAST_LINES:])
        self._kept[name] = [reached.stamp, reached.count]
        return Batch(name, lines, json.dumps(self._kept, separators=(",", ":")))

    def _frames(self, piece: bytes) -> Iterable[tuple[str, bytes]]:
        data, at = self._rest + piece, 0
        while len(data) - at >= _HEADER:
            end = at + _HEADER + int.from_bytes(data[at + 4 : at + 8], "big")
            if end > len(data):
                break
            yield NAMES.get(data[at], "stdout"), data[at + _HEADER : end]
            at = end
        self._rest = data[at:]

    def _entry(self, stream: _Stream, payload: bytes) -> str | None:
        """One entry "<timestamp> text"; the line it completes, if it is new and completes one."""
        stamp_text, _, text = payload.partition(b" ")
        stamp = nanoseconds(stamp_text)
        if stamp < stream.cursor.stamp:
            return None
        if stamp == stream.cursor.stamp and stream.passed < stream.cursor.count:
            stream.passed += 1
            return None
        same = stamp == stream.read.stamp
        stream.read = Cursor(stamp, stream.read.count + 1 if same else 1)
        if not text.endswith(b"\n"):
            stream.begun += text[: LONGEST_KEPT - len(stream.begun)]
            return None
        whole = bytes(stream.begun) + text[:-1] if stream.begun else text[:-1]
        stream.begun.clear()
        stream.cursor = stream.read
        stream.passed = stream.cursor.count
        return whole.decode("utf-8", "surrogateescape")

    def leftover(self) -> Iterator[Batch]:
        """Lines that ended with the container instead of a newline."""
        for name, stream in self._streams.items():
            if stream.begun:
                line = bytes(stream.begun).decode("utf-8", "surrogateescape")
                stream.begun.clear()
                stream.cursor = stream.read
                yield self._batch(name, [line], stream.cursor)


_seconds: tuple[bytes, int] = (b"", 0)


def nanoseconds(text: bytes) -> int:
    """Of an RFC 3339 time in UTC, as the engine writes it; the second last asked for is remembered."""
    global _seconds
    second, _, fraction = text.rstrip(b"Z").partition(b".")
    if _seconds[0] != second:
        at = calendar.timegm(time.strptime(second.decode("ascii", "replace")[:19], "%Y-%m-%dT%H:%M:%S"))
        _seconds = (second, at)
    return _seconds[1] * 10**9 + int(fraction[:9].ljust(9, b"0") or 0)


def stored_cursor(data_dir: Path, deployment_id: str, task_id: str) -> str:
    """How far the keeper has the output of a task, in the form it was sent; "" when it has none."""
    try:
        return (data_dir / "logs" / deployment_id / task_id / "cursor").read_text()
    except OSError:
        return ""


def _stored(text: str) -> dict[str, tuple[int, int]]:
    try:
        found = json.loads(text)
        return {name: (int(found[name][0]), int(found[name][1])) for name in NAMES.values()}
    except (ValueError, TypeError, KeyError, IndexError):
        return {}
