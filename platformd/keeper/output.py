"""Reading what tasks write: FIFO → whole lines → journal.

One reader per FIFO, a few turns of at most 64 KiB each between two looks at the commands. A FIFO that brings more
than 32 MB/s is left unread for a while: its task waits in `write`, nobody else does. One thread.
"""

from __future__ import annotations

import fcntl
import os
import select
import time

from .journal import Part
from .segments import LINE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .journal import Journal

READ_BYTES = 64 * 1024
BYTES_PER_SECOND = 32_000_000
BURST_BYTES = 4_000_000
READS_A_TURN = 8
TAIL_BYTES = 6 * 1024
LAST_LINES, LAST_LINE_CHARS = 10, 500
_FIONREAD = 0x541B


class Reader:
    """The keeper's end of one FIFO; `fd` is -1 once nobody holds the other end any more."""

    __slots__ = ("dropped", "fd", "journal", "label", "pending", "stamp", "stream", "tail", "tokens")

    def __init__(self, fd: int, stream: int, journal: Journal, task: str) -> None:
        self.fd, self.stream, self.journal = fd, stream, journal
        self.label = f"{task} {stream}".encode()
        self.pending = journal.open_lines[stream] = bytearray()
        self.dropped = 0
        self.tail = b""
        self.tokens, self.stamp = float(BURST_BYTES), time.monotonic()

    def read(self) -> int:
        """Take in up to 64 KiB: how many bytes came, 0 at the end, -1 when nothing is there."""
        try:
            chunk = self.journal.journals.spool.take(self, READ_BYTES)
        except BlockingIOError:
            return -1
        if chunk:
            self.feed(chunk)
        return len(chunk)

    def feed(self, chunk: bytes) -> None:
        self.tail = (self.tail + chunk if len(chunk) < TAIL_BYTES else chunk)[-TAIL_BYTES:]
        parts: list[Part] = []
        end = chunk.rfind(b"\n") + 1
        if end:
            self._lines(chunk, end, parts)
        if end < len(chunk):
            self._hold(chunk[end:] if end else chunk, parts)
        if parts:
            self.journal.write(self.stream, parts)

    def _lines(self, chunk: bytes, end: int, parts: list[Part]) -> None:
        begun, start = bytes(self.pending), 0
        if begun or self.dropped:
            first = chunk.find(b"\n")
            room = LINE_BYTES - len(begun)
            if self.dropped or first > room:
                parts.append(
                    Part([begun, chunk[:room][:first], b"\n"], 1, self.dropped + max(0, first - room))
                )
                begun, start = b"", first + 1
            self.pending.clear()
            self.dropped = 0
        if start < end:
            body = memoryview(chunk)[start:end]
            parts.append(Part([begun, body] if begun else [body], chunk.count(b"\n", start, end)))

    def _hold(self, rest: bytes, parts: list[Part]) -> None:
        offset = len(self.pending)
        piece = rest[: LINE_BYTES - offset]
        self.dropped += len(rest) - len(piece)
        if piece:
            self.pending += piece
            parts.append(Part([piece], 0, offset=offset))

    def flush(self) -> None:
        """What came without a newline is a line too, now that no more will follow."""
        if not self.pending and not self.dropped:
            return
        self.journal.journals.spool.void()
        part = Part([bytes(self.pending), b"\n"], 1, self.dropped)
        self.pending.clear()
        self.dropped = 0
        self.journal.write(self.stream, [part])

    def drain(self) -> None:
        """Take in what is there now, however fast more comes; then close the last line."""
        if self.fd >= 0:
            waiting = int.from_bytes(fcntl.ioctl(self.fd, _FIONREAD, b"\0\0\0\0"), "little")
            while waiting > 0 and (got := self.read()) > 0:
                waiting -= got
        self.flush()

    def overdrawn(self, spent: int) -> float:
        """Book `spent` bytes: for how many seconds the FIFO is to be left alone."""
        now = time.monotonic()
        self.tokens = min(BURST_BYTES, self.tokens + (now - self.stamp) * BYTES_PER_SECOND) - spent
        self.stamp = now
        return 0.0 if self.tokens >= 0 else (BURST_BYTES / 2 - self.tokens) / BYTES_PER_SECOND

    def state(self) -> dict[str, Any]:
        pending, tail = self.pending.decode("latin-1"), self.tail.decode("latin-1")
        return {"fd": self.fd, "pending": pending, "dropped": self.dropped, "tail": tail}

    def restore(self, state: dict[str, Any]) -> None:
        self.pending += state["pending"].encode("latin-1")
        self.tail, self.dropped = state["tail"].encode("latin-1"), state["dropped"]


class Outputs:
    """All FIFOs that are being read, behind one epoll descriptor of their own."""

    def __init__(self, later: Callable[[float, Callable[[], None]], None]) -> None:
        self.epoll = select.epoll()
        self.readers: dict[int, Reader] = {}
        self.paused: set[int] = set()
        self.later = later

    def add(self, reader: Reader) -> None:
        if reader.fd >= 0:
            self.readers[reader.fd] = reader
            self.epoll.register(reader.fd, select.EPOLLIN)

    def pump(self) -> None:
        """A few reads; the kernel hands out ready FIFOs in turn, so none starves."""
        for fd, _ in self.epoll.poll(0, READS_A_TURN):
            reader = self.readers[fd]
            got = reader.read()
            if got == 0:
                reader.flush()
                self.close(reader)
            elif got > 0 and (pause := reader.overdrawn(got)) > 0:
                self.epoll.unregister(fd)
                self.paused.add(fd)
                self.later(pause, lambda reader=reader: self._resume(reader))  # type: ignore[misc]

    def _resume(self, reader: Reader) -> None:
        if reader.fd in self.paused:
            self.paused.discard(reader.fd)
            self.epoll.register(reader.fd, select.EPOLLIN)

    def close(self, reader: Reader) -> None:
        if reader.fd < 0:
            return
        # closing is not enough: a child being loaded still has a copy for an instant, and epoll goes by that
        if reader.fd not in self.paused:
            self.epoll.unregister(reader.fd)
        self.paused.discard(reader.fd)
        del self.readers[reader.fd]
        os.close(reader.fd)
        reader.fd = -1


def last_lines(out: Reader, err: Reader) -> list[str]:
    """The last lines of stderr, or of stdout when stderr is silent."""
    text = (err.tail.strip() or out.tail.strip()).decode("utf-8", "replace")
    return [line[:LAST_LINE_CHARS] for line in text.split("\n")[-LAST_LINES:]] if text else []
