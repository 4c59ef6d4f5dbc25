"""Streams to many readers: each batch is encoded and framed once, each reader keeps a bounded backlog of its own.

`Reader` owns one open response; the feeds hand it the same immutable bytes as everyone else. It writes past Tornado's
handler straight to the connection's stream, in ready-made HTTP chunks. One `Streams` per server pings them and ends
them. Loop thread only.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import msgspec
from tornado.iostream import IOStream, StreamClosedError

from platformd import clock

PING_SECS = 15.0
_TICK_SECS = 0.5
STALLED_SECS = 30.0
FAREWELL_SECS = 5.0
LARGEST_BACKLOG = 2 << 20
JOINED = 64 << 10
SEND_BUFFER = 256 << 10


class Format(Enum):
    """How entries are written: an EventSource's events, or one JSON object a line."""

    SSE = "text/event-stream"
    NDJSON = "application/x-ndjson"

    @property
    def ping(self) -> bytes:
        return b": ping\n\n" if self is Format.SSE else b"\n"

    @property
    def greeting(self) -> bytes:
        """Sent at once, so that the client sees the stream open; how soon an EventSource comes back."""
        return b"retry: 1000\n\n" if self is Format.SSE else b""

    def entry(self, id: int, data: bytes) -> bytes:
        """An unnamed event; `data` is JSON on one line."""
        return b"id: %d\ndata: %b\n\n" % (id, data) if self is Format.SSE else data + b"\n"

    def event(self, name: str, data: dict[str, Any], id: int | None = None) -> bytes:
        """A named event."""
        if self is Format.NDJSON:
            return msgspec.json.encode({"event": name, **data}) + b"\n"
        place = b"" if id is None else b"id: %d\n" % id
        return b"%bevent: %b\ndata: %b\n\n" % (place, name.encode(), msgspec.json.encode(data))


def accepted(accept: str) -> Format:
    """What a client's Accept asks for; anything unclear is SSE."""
    return Format.NDJSON if Format.NDJSON.value in accept.lower() else Format.SSE


def framed(payload: bytes) -> bytes:
    """`payload` as one HTTP chunk, ready for any number of readers."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


class Reader:
    """One client of a stream. `position` is the id of the last entry it was given; what is missing up to the id `lost`
    it knows of, or never asked for."""

    def __init__(self, stream: IOStream, format: Format, position: int, lost: int, *, chunked: bool) -> None:
        self.format = format
        self.position = position
        self.lost = lost
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stream = stream
        self._chunked = chunked
        self._backlog: list[bytes] = []
        self._backlog_size = 0
        self._writing: asyncio.Future[None] | None = None
        self._writing_since = 0.0
        self._ending = False
        self._next_ping = clock.monotonic() + PING_SECS
        stream.set_nodelay(True)
        if stream.socket.family != socket.AF_UNIX:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    @property
    def is_open(self) -> bool:
        return not self._ending and not self.closed.done()

    def send(self, payload: bytes, chunk: bytes) -> None:
        """`payload`, whose framed form is `chunk`. A reader that does not keep up is told and closed."""
        if not self.is_open:
            return
        data = chunk if self._chunked else payload
        if self._writing is None:
            self._write(data)
            return
        self._backlog.append(data)
        self._backlog_size += len(data)
        if self._backlog_size > LARGEST_BACKLOG:
            self.drop("the reader is too slow")

    def send_own(self, payload: bytes) -> None:
        """Something for this reader alone."""
        if payload:
            self.send(payload, framed(payload))

    async def drained(self) -> bool:
        """Waits until all was taken by the network; False when the client stalls or left."""
        while self._writing is not None and self.is_open:
            done, _ = await asyncio.wait(
                (self._writing, self.closed), timeout=STALLED_SECS, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                self.drop("the reader stands still")
            await asyncio.sleep(0)
        return self.is_open

    def tell_gap(self, after: int, oldest: int) -> None:
        """Something after the id `after` is not kept any more; `oldest` comes next (0: nothing yet)."""
        detail = "entries between are no longer kept; going on with the oldest kept"
        gap = {"code": "NOT_KEPT", "after": after, "oldest": oldest, "detail": detail}
        self.send_own(self.format.event("gap", gap))

    def tick(self, now: float) -> None:
        """Called each second: pings, and gives up on a client that takes nothing any more."""
        if self._writing is not None and now - self._writing_since > STALLED_SECS:
            self.drop("the reader stands still")
        elif now >= self._next_ping:
            self._next_ping = now + PING_SECS
            self.send_own(self.format.ping)

    def drop(self, why: str) -> None:
        """Ends a reader that is behind: what it has not got is left for a reconnect, and it is told from where."""
        if not self.is_open:
            return
        gap = {
            "code": "SLOW_READER",
            "detail": f"{why}; reconnect with Last-Event-ID or ?after=, the id of the last entry received",
        }
        self._backlog.clear()
        self._backlog_size = 0
        self.end(self.format.event("gap", gap), STALLED_SECS)

    def end(self, last: bytes = b"", patience: float | None = None) -> None:
        """Sends `last`; `closed` is done once it is out. A client that does not take it is cut after `patience`
        seconds, `FAREWELL_SECS` unless stated."""
        if not self.is_open:
            return
        self.send_own(last)
        self._ending = True
        if self._writing is None:
            self.gone()
            return
        asyncio.get_running_loop().call_later(
            FAREWELL_SECS if patience is None else patience, self._stream_gone
        )

    def gone(self) -> None:
        """The connection closed."""
        self._backlog.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    def _write(self, *parts: bytes) -> None:
        try:
            first, *others = parts
            rest = self._straight(first)
            if not rest and not others:
                self._all_out()
                return
            for part in (rest, *others):
                writing = self._stream.write(part)
        except StreamClosedError:
            self.gone()
            return
        if writing.done():
            self._wrote(writing)
            return
        self._writing, self._writing_since = writing, clock.monotonic()
        writing.add_done_callback(self._wrote)

    def _straight(self, data: bytes) -> bytes | memoryview:
        """Writes to the socket itself what it takes at once, which is nearly always all of it; what is left, uncopied.
        A write through the stream costs twice as much, and there is one for each reader each time."""
        if self._stream.closed() or self._stream.writing():
            return data
        try:
            return memoryview(data)[self._stream.socket.send(data) :]
        except OSError:  # full, or gone: the stream finds out which
            return data

    def _wrote(self, writing: asyncio.Future[None]) -> None:
        self._writing = None
        if writing.exception() is not None:
            self.gone()
        elif self._backlog:
            parts, size = self._backlog, self._backlog_size
            self._backlog, self._backlog_size = [], 0
            # Large parts are shared with other readers: joining them would be a copy for each.
            self._write(*([b"".join(parts)] if size <= JOINED else parts))
        else:
            self._all_out()

    def _all_out(self) -> None:
        if self._ending:
            self.gone()

    def _stream_gone(self) -> None:
        if not self.closed.done():
            self._stream.close()
            self.gone()


class Streams:
    """All open readers of a server."""

    def __init__(self) -> None:
        self._readers: dict[Reader, Callable[[], bool]] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._closing = False

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, reader: Reader, welcome: Callable[[], bool] = lambda: True) -> None:
        """Its stream ends soon after `welcome` says no."""
        self._readers[reader] = welcome
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
        if self._closing:
            self._farewell((reader,))

    def discard(self, reader: Reader) -> None:
        self._readers.pop(reader, None)

    async def close(self) -> None:
        """A last event for everyone, then the end; at most `FAREWELL_SECS`."""
        self._closing = True
        readers = tuple(self._readers)
        self._farewell(readers)
        if readers:
            await asyncio.wait([reader.closed for reader in readers], timeout=FAREWELL_SECS)
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    def _farewell(self, readers: Iterable[Reader]) -> None:
        for reader in readers:
            reader.end(reader.format.event("shutdown", {"detail": "the server stops; reconnect"}))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECS)
            now = clock.monotonic()
            for reader, welcome in tuple(self._readers.items()):
                reader.tick(now)
                if not welcome():
                    reader.end(reader.format.event("revoked", {"detail": "your token was revoked"}))
            if not self._readers:
                self._ticking = None
                return
