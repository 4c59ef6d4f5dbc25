"""What can be followed: something that is read after an id, says when there is more, and may come to an end.

`handlers.feeds` follows a source for all its readers; `handlers.following` answers one request with it. The two kinds
are a log (here) and the events (`handlers.events`). Loop thread only; files and rows are read on threads.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from handlers.context import Context
from handlers.entries import encoded
from handlers.sse import Format
from platformd.errors import NotFound
from platformd.logstore import Entry

T = TypeVar("T")
Line = tuple[int, bytes]
LARGEST_PAYLOAD = 256 << 10


class Portion(NamedTuple):
    """(id, JSON) of each line, in order; whatever else there is has an id above `upto`."""

    lines: list[Line]
    upto: int


class Source(Protocol):
    """Equal sources are followed together, so a source is hashable."""

    async def read(self, context: Context, after: int, limit: int) -> Portion:
        """The first `limit` lines above the id `after`."""

    async def newest(self, context: Context, count: int) -> list[Line]:
        """The last `count` lines, oldest first."""

    async def last_id(self, context: Context) -> int:
        """The newest line's id; 0 without any."""

    async def oldest_after_gap(self, context: Context, after: int) -> int | None:
        """The oldest id that is kept (0: none), when something above `after` is not kept any more; else None."""

    async def lost(self, context: Context) -> int:
        """The highest id that is not kept any more; 0 when there is none."""

    async def changed(self, context: Context, after: int, within: float) -> bool:
        """True as soon as there may be something above `after`, False when nothing was heard for so many seconds."""

    def ended(self, context: Context, /) -> dict[str, Any] | None:
        """What the last event says, once nothing more can come."""


async def on_thread(ask: Callable[..., T], *args: Any, **options: Any) -> T:
    """What reads files or many rows, off the loop."""
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(ask, *args, **options))


async def first_of(waits: Iterable[Any]) -> bool:
    """True when the first wait that ends heard something."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return any(task.result() for task in done)
    finally:
        for task in tasks:
            task.cancel()


@dataclass(frozen=True, slots=True)
class LogSource:
    """The output of a deployment, or of one task of it."""

    deployment_id: str
    task_id: str | None = None

    async def read(self, context: Context, after: int, limit: int) -> Portion:
        entries = await self.entries(context, after=after, limit=limit)
        return Portion(self.encoded(entries), entries[-1].id if entries else after)

    async def newest(self, context: Context, count: int) -> list[Line]:
        return self.encoded(await self.entries(context, tail=count))

    async def last_id(self, context: Context) -> int:
        return await on_thread(context.logs.last_id, self.deployment_id) or 0

    async def oldest_after_gap(self, context: Context, after: int) -> int | None:
        return await on_thread(context.logs.oldest_after_gap, self.deployment_id, after, self.task_id)

    async def lost(self, context: Context) -> int:
        return await on_thread(context.logs.lost, self.deployment_id, self.task_id)

    async def changed(self, context: Context, after: int, within: float) -> bool:
        hub, id = context.hub, self.deployment_id
        try:
            kind, revision = self.watched(context)
        except NotFound:
            return False
        news = hub.wait_lines(id, after, within), hub.wait_revision(kind, id, revision, within)
        return await first_of(news)

    def watched(self, context: Context) -> tuple[str, int]:
        """The kind and the present revision of what ends the log; NotFound."""
        return "deployment", context.views.deployment(self.deployment_id)["revision"]

    def encoded(self, entries: Sequence[Entry]) -> list[Line]:
        return encoded(entries)

    def ended(self, context: Context, /) -> dict[str, Any] | None:
        try:
            if self.task_id is not None:
                task = context.views.task(self.task_id)
                return {"state": task["state"]} if task["state"] in ("stopped", "failed") else None
            deployment = context.views.deployment(self.deployment_id)
        except NotFound:
            return {"status": "deleted"}
        return {"status": deployment["status"]} if deployment["phase"] == "done" else None

    async def entries(self, context: Context, **selection: Any) -> list[Entry]:
        """Stored entries by the log store's selection."""
        return await on_thread(context.logs.read, self.deployment_id, task=self.task_id, **selection)


def payloads(lines: Sequence[Line], format: Format, after: int = 0) -> Iterator[bytes]:
    """What a stream carries for `lines` above the id `after`, in pieces of a bounded size."""
    parts: list[bytes] = []
    size = 0
    for id, data in lines:
        if id <= after:
            continue
        part = format.entry(id, data)
        if parts and size + len(part) > LARGEST_PAYLOAD:
            yield b"".join(parts)
            parts, size = [], 0
        parts.append(part)
        size += len(part)
    if parts:
        yield b"".join(parts)
