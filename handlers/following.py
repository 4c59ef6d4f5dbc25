"""Answers a request with a stream of what a source has and gets: the part that logs and events share.

Loop thread only.
"""

from __future__ import annotations

from typing import Any

from msgspec import UnsetType

from handlers.base import Handler
from handlers.feeds import Feeds, send_history
from handlers.sources import Source
from handlers.specs import invalid
from handlers.sse import Reader, Streams, accepted
from platformd.errors import Fault


class Following(Handler):
    """Live, as server-sent events or as lines of JSON."""

    feeds: Feeds
    streams: Streams
    _reader: Reader | None = None

    def initialize(  # type: ignore[override]  # Tornado passes what the route says, by name
        self, *, feeds: Feeds, streams: Streams, **shared: Any
    ) -> None:
        super().initialize(**shared)
        self.feeds = feeds
        self.streams = streams

    async def stream(self, source: Source, *, tail: int, after: int | UnsetType) -> None:
        """The last `tail` and what comes, or all above the id `after`; a reconnecting EventSource's id beats both."""
        resume = self._resume_after(after)
        lost = await source.lost(self.context)
        history = []
        if resume is None:
            last = await source.last_id(self.context)
            history = await source.newest(self.context, tail) if tail else []
            position = history[0][0] - 1 if history else last
        else:
            position = min(resume, await source.last_id(self.context))
            if source.ended(self.context) and not (await source.read(self.context, position, 1)).lines:
                self.no_content()
                return
        if self.request.method == "HEAD":
            self._announce()
            return
        reader = self._open(position, lost)
        try:
            reader.send_own(reader.format.greeting)
            if resume:
                await self._tell_gap(source, resume, reader)
            if await send_history(reader, history):
                await self.feeds.follow(source, reader)
            await reader.closed
        finally:
            self.streams.discard(reader)

    def shown(self) -> tuple[str | None, str | None]:
        """An EventSource sends no headers: `?access_token=` and `?ticket=` stand for them here, and only here."""
        given = self.request.query_arguments
        token, ticket = (_last(given.pop(name, None)) for name in ("access_token", "ticket"))
        secret, _ = super().shown()
        return (token if secret is None else secret), ticket

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._reader is not None:
            self._reader.gone()

    def _resume_after(self, after: int | UnsetType) -> int | None:
        given = self.request.headers.get("Last-Event-ID")
        if given is None:
            return None if isinstance(after, UnsetType) else after
        if not (given.isascii() and given.isdecimal() and len(given) <= 16):
            raise invalid([Fault("/Last-Event-ID", f"must be the id of an entry, not {given[:80]!r}")])
        return int(given)

    async def _tell_gap(self, source: Source, resume: int, reader: Reader) -> None:
        oldest = await source.oldest_after_gap(self.context, resume)
        if oldest is not None:
            reader.tell_gap(resume, oldest)

    def _announce(self) -> None:
        self.set_header("Content-Type", accepted(self.request.headers.get("Accept", "")).value)
        self.set_header("X-Accel-Buffering", "no")
        self.set_header("Server-Timing", self.timing())

    def _open(self, position: int, lost: int) -> Reader:
        self._announce()
        self.flush()
        chunked = self.request.version == "HTTP/1.1"
        format = accepted(self.request.headers.get("Accept", ""))
        connection: Any = self.request.connection
        self._reader = Reader(connection.stream, format, position, lost, chunked=chunked)
        caller = self.caller
        self.streams.add(self._reader, lambda: self.authentication.still_valid(caller))
        return self._reader


def _last(values: list[bytes] | None) -> str | None:
    return values[-1].decode("utf-8", "replace") if values else None
