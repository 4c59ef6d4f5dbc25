"""Stored log entries and the live stream, of a deployment or of one task."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from msgspec import UNSET, UnsetType

from handlers import answers, schemas
from handlers.base import Handler
from handlers.entries import shown
from handlers.feeds import Feeds, Source, end_of, read, send_history
from handlers.operation import Scope, operation, stream_of
from handlers.quantities import instant
from handlers.specs import invalid
from handlers.sse import Reader, Streams, accepted
from platformd import clock
from platformd.errors import Fault
from platformd.logstore import Entry


class LogsHandler(Handler):
    """`GET …/logs`: a bare array, oldest first."""

    @operation(
        "Get a deployment's output",
        Scope.READ,
        query=schemas.LogsQuery,
        answers={200: list[answers.LogEntry]},
        problems=("404 DEPLOYMENT_NOT_FOUND",),
    )
    async def get(self, deployment_id: str) -> None:
        query = self.query(schemas.LogsQuery)
        self.read(self.context.views.deployment, deployment_id)
        task_id = None if isinstance(query.task_id, UnsetType) else query.task_id.lower()
        await self.show(Source(deployment_id, task_id), query)

    async def show(self, source: Source, query: schemas.TaskLogsQuery) -> None:
        selection = _selection(query)
        if query.tail == 0:
            self.answer([])
            return
        entries = await self.unless_closed(self.durable(read(self.context, source, **selection)))
        self.answer([shown(entry) for entry in entries])


class TaskLogsHandler(LogsHandler):
    """`GET /tasks/:id/logs`."""

    @operation(
        "Get a task's output",
        Scope.READ,
        query=schemas.TaskLogsQuery,
        answers={200: list[answers.LogEntry]},
        problems=("404 TASK_NOT_FOUND",),
    )
    async def get(self, task_id: str) -> None:
        query = self.query(schemas.TaskLogsQuery)
        task = self.read(self.context.views.task, task_id)
        await self.show(Source(task["deployment_id"], task_id), query)


class StreamHandler(Handler):
    """`GET …/logs/stream`: live, as server-sent events or as lines of JSON."""

    feeds: Feeds
    streams: Streams
    _reader: Reader | None = None

    def initialize(  # type: ignore[override]  # Tornado passes what the route says, by name
        self, *, feeds: Feeds, streams: Streams, **shared: Any
    ) -> None:
        super().initialize(**shared)
        self.feeds = feeds
        self.streams = streams

    @operation(
        "Follow a deployment's output",
        Scope.READ,
        query=schemas.StreamQuery,
        answers={200: stream_of(answers.LogEntry), 204: None},
        problems=("404 DEPLOYMENT_NOT_FOUND",),
    )
    async def get(self, deployment_id: str) -> None:
        query = self.query(schemas.StreamQuery)
        self.read(self.context.views.deployment, deployment_id)
        task_id = None if isinstance(query.task_id, UnsetType) else query.task_id.lower()
        await self.stream(Source(deployment_id, task_id), query)

    async def stream(self, source: Source, query: schemas.TaskStreamQuery) -> None:
        resume = self._resume_after(query)
        if resume is None:
            history = await read(self.context, source, tail=query.tail) if query.tail else []
            position = await self._start(source, history)
        else:
            history = []
            position = await self._clamped(source, resume)
            if end_of(self.context, source) and not await read(self.context, source, after=position, limit=1):
                self.no_content()
                return
        if self.request.method == "HEAD":
            self._announce()
            return
        reader = self._open(position)
        try:
            reader.send_own(reader.format.greeting)
            if resume is not None:
                await self._tell_gap(source, resume, reader)
            if await send_history(reader, history):
                await self.feeds.follow(source, reader)
            await reader.closed
        finally:
            self.streams.discard(reader)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._reader is not None:
            self._reader.gone()

    def _resume_after(self, query: schemas.TaskStreamQuery) -> int | None:
        """The id to go on after: what a reconnecting EventSource sends beats the address it was made with."""
        given = self.request.headers.get("Last-Event-ID")
        if given is None:
            return None if isinstance(query.after, UnsetType) else query.after
        if not (given.isascii() and given.isdecimal() and len(given) <= 16):
            raise invalid([Fault("/Last-Event-ID", f"must be the id of an entry, not {given[:80]!r}")])
        return int(given)

    async def _start(self, source: Source, history: list[Entry]) -> int:
        """Where a stream that replays `history` begins: before it, or at the end of what is stored."""
        if history:
            return history[0].id - 1
        last = await self._ask_logs(self.context.logs.last_id, source.deployment_id)
        return last or 0

    async def _clamped(self, source: Source, resume: int) -> int:
        last = await self._ask_logs(self.context.logs.last_id, source.deployment_id)
        return min(resume, last or 0)

    async def _tell_gap(self, source: Source, resume: int, reader: Reader) -> None:
        first = await self._ask_logs(self.context.logs.first_id, source.deployment_id)
        if resume and first is not None and resume < first:
            detail = "entries between are no longer kept; going on with the oldest kept"
            gap = {"code": "NOT_KEPT", "after": resume, "oldest": first, "detail": detail}
            reader.send_own(reader.format.event("gap", gap))

    async def _ask_logs(self, ask: Any, deployment_id: str) -> int | None:
        found: int | None = await asyncio.get_running_loop().run_in_executor(
            None, functools.partial(ask, deployment_id)
        )
        return found

    def _announce(self) -> None:
        self.set_header("Content-Type", accepted(self.request.headers.get("Accept", "")).value)
        self.set_header("X-Accel-Buffering", "no")
        self.set_header("Server-Timing", self.timing())

    def _open(self, position: int) -> Reader:
        self._announce()
        self.flush()
        chunked = self.request.version == "HTTP/1.1"
        format = accepted(self.request.headers.get("Accept", ""))
        connection: Any = self.request.connection
        self._reader = Reader(connection.stream, format, position, chunked=chunked)
        self.streams.add(self._reader)
        return self._reader


class TaskStreamHandler(StreamHandler):
    """`GET /tasks/:id/logs/stream`."""

    @operation(
        "Follow a task's output",
        Scope.READ,
        query=schemas.TaskStreamQuery,
        answers={200: stream_of(answers.LogEntry), 204: None},
        problems=("404 TASK_NOT_FOUND",),
    )
    async def get(self, task_id: str) -> None:
        query = self.query(schemas.TaskStreamQuery)
        task = self.read(self.context.views.task, task_id)
        await self.stream(Source(task["deployment_id"], task_id), query)


def _selection(query: schemas.TaskLogsQuery) -> dict[str, Any]:
    """The log store's arguments; 422 for instants that are none."""
    selection: dict[str, Any] = {"limit": query.limit}
    faults = []
    for name in ("after", "tail", "stream"):
        if getattr(query, name) is not UNSET:
            selection[name] = getattr(query, name)
    for name in ("since", "until"):
        text = getattr(query, name)
        if text is UNSET:
            continue
        try:
            selection[name] = instant(text, clock.now())
        except ValueError as error:
            faults.append(Fault(f"/{name}", str(error)))
    if faults:
        raise invalid(faults)
    return selection
