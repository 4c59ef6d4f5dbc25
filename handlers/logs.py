"""Stored log entries and the live stream, of a deployment or of one task."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from handlers import answers, schemas
from handlers.base import Handler
from handlers.entries import shown
from handlers.following import Following
from handlers.operation import Scope, operation, stream_of
from handlers.quantities import instant
from handlers.sources import LogSource
from platformd import clock


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
        await self.show(LogSource(deployment_id, task_id), query)

    async def show(self, source: LogSource, query: schemas.TaskLogsQuery) -> None:
        selection = selection_of(query)
        if query.tail == 0:
            self.answer([])
            return
        entries = await self.unless_closed(self.durable(source.entries(self.context, **selection)))
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
        await self.show(LogSource(task["deployment_id"], task_id), query)


class StreamHandler(Following):
    """`GET …/logs/stream`."""

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
        await self.stream(LogSource(deployment_id, task_id), tail=query.tail, after=query.after)


class TaskStreamHandler(Following):
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
        source = LogSource(task["deployment_id"], task_id)
        await self.stream(source, tail=query.tail, after=query.after)


def selection_of(query: schemas.TaskLogsQuery) -> dict[str, Any]:
    """The log store's arguments."""
    selection: dict[str, Any] = {"limit": query.limit}
    for name in ("after", "before", "tail", "stream"):
        if getattr(query, name) is not UNSET:
            selection[name] = getattr(query, name)
    for name in ("since", "until"):
        if (text := getattr(query, name)) is not UNSET:
            selection[name] = instant(text, clock.now())
    return selection
