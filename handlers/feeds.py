"""Follows one deployment's log for all its readers: one read, one encoding, however many listen.

A reader first catches up from the store at its own pace, then joins the feed at exactly the id where it stands, in
one step of the loop: so nothing is missed and nothing comes twice. Loop thread only; files are read on threads.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handlers.context import Context
from handlers.entries import encoded, payloads
from handlers.sse import Format, Reader, framed
from platformd.errors import NotFound
from platformd.logstore import Entry
from platformd.observability import get_logger

FLUSH_SECS = 0.02
POLL_SECS = 5.0
SETTLE_SECS = 0.2
BATCH = 1000
PAGE = 500

_log = get_logger("handlers.feeds")


@dataclass(frozen=True, slots=True)
class Source:
    """What is followed: a deployment, or one task of it."""

    deployment_id: str
    task_id: str | None = None


class Feeds:
    """The feeds that have readers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._feeds: dict[Source, Feed] = {}

    async def follow(self, source: Source, reader: Reader) -> None:
        """Gives `reader` everything after its position until it is closed."""
        if not await self._catch_up(source, reader):
            return
        # No await from the comparison in `_catch_up` to here: the reader stands where the feed does, or further.
        feed = self._feeds.get(source)
        if feed is None:
            feed = self._feeds[source] = Feed(self._context, source, reader.position, self._forget)
        feed.add(reader)
        try:
            await reader.closed
        finally:
            feed.discard(reader)

    async def close(self) -> None:
        """Stops following."""
        tasks = [feed.stop() for feed in tuple(self._feeds.values())]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _catch_up(self, source: Source, reader: Reader) -> bool:
        while True:
            feed = self._feeds.get(source)
            goal = feed.position if feed is not None else 0
            entries = await read(self._context, source, after=reader.position, limit=PAGE)
            if not await send_history(reader, entries):
                return False
            if not entries:
                reader.position = max(reader.position, goal)
            feed = self._feeds.get(source)
            caught_up = len(entries) < PAGE if feed is None else reader.position >= feed.position
            if caught_up:
                return True

    def _forget(self, source: Source) -> None:
        del self._feeds[source]


class Feed:
    """One followed log; lives while it has readers. `position` is the last id handed out."""

    def __init__(
        self, context: Context, source: Source, position: int, ended: Callable[[Source], None]
    ) -> None:
        self.position = position
        self._context = context
        self._source = source
        self._ended = ended
        self._readers: set[Reader] = set()
        self._task = asyncio.create_task(self._run())

    def add(self, reader: Reader) -> None:
        self._readers.add(reader)

    def discard(self, reader: Reader) -> None:
        self._readers.discard(reader)
        if not self._readers:
            self.stop()

    def stop(self) -> asyncio.Task[None]:
        """Stops following; the registry forgets it at once."""
        if not self._task.cancelling() and not self._task.done():
            self._task.cancel()
            self._ended(self._source)
        return self._task

    async def _run(self) -> None:
        try:
            await self._pump()
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("log feed failed", deployment_id=self._source.deployment_id)
        self._ended(self._source)
        for reader in tuple(self._readers):
            reader.end()

    async def _pump(self) -> None:
        finished: dict[str, Any] | None = None
        while True:
            # Listening begins before reading, so a line that comes between the two is not slept through.
            changed = asyncio.create_task(self._changed())
            try:
                await asyncio.sleep(0)
                state = self._finished()
                entries = await read(self._context, self._source, after=self.position, limit=BATCH)
                if entries:
                    finished = None
                    self._deliver(entries)
                    if len(entries) < BATCH:
                        await asyncio.sleep(FLUSH_SECS)
                elif finished is not None:
                    self._end(finished)
                    return
                elif state is not None:
                    finished = state
                    await asyncio.sleep(SETTLE_SECS)
                elif not await changed:
                    await asyncio.sleep(FLUSH_SECS)  # a hub that is closing tells everyone at once
            finally:
                changed.cancel()

    async def _changed(self) -> bool:
        """True when there is something new, False when nothing was heard for a while."""
        hub, id = self._context.hub, self._source.deployment_id
        try:
            revision = self._context.views.deployment(id)["revision"]
        except NotFound:
            return False
        waits = {
            asyncio.create_task(hub.wait_lines(id, self.position, POLL_SECS)),
            asyncio.create_task(hub.wait_revision("deployment", id, revision, POLL_SECS)),
        }
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return any(wait.result() for wait in done)
        finally:
            for wait in waits:
                wait.cancel()

    def _finished(self) -> dict[str, Any] | None:
        return end_of(self._context, self._source)

    def _deliver(self, entries: list[Entry]) -> None:
        lines = encoded(entries)
        first, last = entries[0].id, entries[-1].id
        shared: dict[Format, list[tuple[bytes, bytes]]] = {}
        for reader in tuple(self._readers):
            if reader.position >= first:  # it read ahead of the feed
                for payload in payloads(lines, reader.format, reader.position):
                    reader.send_own(payload)
            else:
                if reader.format not in shared:
                    shared[reader.format] = [(part, framed(part)) for part in payloads(lines, reader.format)]
                for payload, chunk in shared[reader.format]:
                    reader.send(payload, chunk)
            reader.position = max(reader.position, last)
        self.position = last

    def _end(self, state: dict[str, Any]) -> None:
        for reader in tuple(self._readers):
            reader.end(reader.format.event("end", state, id=max(reader.position, self.position)))


def end_of(context: Context, source: Source) -> dict[str, Any] | None:
    """What the last event says, once nothing more can come."""
    try:
        if source.task_id is not None:
            task = context.views.task(source.task_id)
            return {"state": task["state"]} if task["state"] in ("stopped", "failed") else None
        deployment = context.views.deployment(source.deployment_id)
    except NotFound:
        return {"status": "deleted"}
    return {"status": deployment["status"]} if deployment["phase"] == "done" else None


async def read(context: Context, source: Source, **selection: Any) -> list[Entry]:
    """Entries from the store, read on a thread."""
    ask = functools.partial(context.logs.read, source.deployment_id, task=source.task_id, **selection)
    return await asyncio.get_running_loop().run_in_executor(None, ask)


async def send_history(reader: Reader, entries: list[Entry]) -> bool:
    """Sends stored entries to one reader at its own pace; False when it left."""
    for payload in payloads(encoded(entries), reader.format, reader.position):
        reader.send_own(payload)
        if not await reader.drained():
            return False
    if entries:
        reader.position = max(reader.position, entries[-1].id)
    return reader.is_open
