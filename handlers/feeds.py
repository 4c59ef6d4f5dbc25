"""Follows one source for all its readers: one read, one encoding, however many listen.

A reader first catches up from what is stored at its own pace, then joins the feed at exactly the id where it stands,
in one step of the loop: so nothing is missed and nothing comes twice. Loop thread only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from handlers.context import Context
from handlers.sources import Line, Portion, Source, payloads
from handlers.sse import Format, Reader, framed
from platformd.observability import get_logger

FLUSH_SECS = 0.03
POLL_SECS = 5.0
SETTLE_SECS = 0.2
BATCH = 1000
PAGE = 500
REMEMBERED = 512 << 10  # bytes; a reader may be behind by several times as much

_log = get_logger("handlers.feeds")


class Feeds:
    """The feeds that have readers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._feeds: dict[Source, Feed] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    async def follow(self, source: Source, reader: Reader) -> None:
        """Gives `reader` everything after its position until it is closed."""
        if not await self._catch_up(source, reader):
            return
        # No await from the comparison in `_catch_up` to here: the reader stands where the feed does, or further.
        feed = self._feeds.get(source)
        if feed is None:
            feed = self._feeds[source] = Feed(
                self._context, source, reader.position, reader.lost, self._forget
            )
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
            if feed is not None and feed.has_all_after(reader.position):
                feed.repeat(reader)
                return reader.is_open
            goal = feed.position if feed is not None else 0
            (lines, upto), lost = await read_whole(self._context, source, reader.position, PAGE, reader.lost)
            if lost > reader.lost:
                reader.tell_gap(reader.position, first_id(lines))
                reader.lost = lost
            if not await send_history(reader, lines):
                return False
            if len(lines) < PAGE:
                reader.position = max(reader.position, upto, goal)
            feed = self._feeds.get(source)
            caught_up = len(lines) < PAGE if feed is None else reader.position >= feed.position
            if caught_up:
                return True

    def _forget(self, source: Source) -> None:
        del self._feeds[source]


class Feed:
    """One followed source; lives while it has readers. `position` is the last id handed out.

    It remembers what it handed out last: who is only that far behind joins without a read of its own. Otherwise many
    who come at once, each reading for itself while new lines come, would never catch up on a busy machine.
    """

    def __init__(
        self, context: Context, source: Source, position: int, lost: int, ended: Callable[[Source], None]
    ) -> None:
        self.position = position
        self._lost = lost
        self._context = context
        self._source = source
        self._ended = ended
        self._readers: set[Reader] = set()
        self._recent: deque[Line] = deque()
        self._recent_size = 0
        self._known_from = position  # whatever has an id above it is in `_recent`
        self._task = asyncio.create_task(self._run())

    def add(self, reader: Reader) -> None:
        self._readers.add(reader)

    def has_all_after(self, position: int) -> bool:
        """True when what was handed out after the id `position` is remembered."""
        return position >= self._known_from

    def repeat(self, reader: Reader) -> None:
        """Gives `reader` what it lacks of what was handed out."""
        missed = [line for line in self._recent if line[0] > reader.position]
        for payload in payloads(missed, reader.format):
            reader.send_own(payload)
        reader.position = max(reader.position, self.position)

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
            _log.exception("a feed failed", source=repr(self._source))
        self._ended(self._source)
        for reader in tuple(self._readers):
            reader.end()

    async def _pump(self) -> None:
        finished: dict[str, Any] | None = None
        source, context = self._source, self._context
        while True:
            # Listening begins before reading, so what comes between the two is not slept through.
            changed = asyncio.create_task(source.changed(context, self.position, POLL_SECS))
            try:
                await asyncio.sleep(0)
                state = source.ended(context)
                (lines, upto), lost = await read_whole(context, source, self.position, BATCH, self._lost)
                if lost > self._lost:
                    self._tell_gap(lost, first_id(lines))
                if lines:
                    finished = None
                    self._deliver(lines)
                    if len(lines) < BATCH:
                        await asyncio.sleep(FLUSH_SECS)
                elif finished is not None:
                    self._end(finished)
                    return
                elif state is not None:
                    finished = state
                    await asyncio.sleep(SETTLE_SECS)
                elif not await changed:
                    await asyncio.sleep(FLUSH_SECS)  # a hub that is closing tells everyone at once
                self.position = max(self.position, upto)
            finally:
                changed.cancel()

    def _tell_gap(self, lost: int, oldest: int) -> None:
        """Who joins later finds it out by a read of its own."""
        for reader in tuple(self._readers):
            if reader.position < lost:
                reader.tell_gap(reader.position, oldest)
        self._lost = self._known_from = lost
        self._recent.clear()
        self._recent_size = 0

    def _deliver(self, lines: list[Line]) -> None:
        first, last = lines[0][0], lines[-1][0]
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
        self._remember(lines)

    def _remember(self, lines: list[Line]) -> None:
        self._recent.extend(lines)
        self._recent_size += sum(len(data) for _, data in lines)
        while self._recent_size > REMEMBERED:
            id, forgotten = self._recent.popleft()
            self._known_from = max(self._known_from, id)
            self._recent_size -= len(forgotten)

    def _end(self, state: dict[str, Any]) -> None:
        for reader in tuple(self._readers):
            reader.end(reader.format.event("end", state, id=max(reader.position, self.position)))


def first_id(lines: list[Line]) -> int:
    return lines[0][0] if lines else 0


async def read_whole(
    context: Context, source: Source, after: int, limit: int, lost: int
) -> tuple[Portion, int]:
    """What `source` has above the id `after`, and up to which id something is lost: more than `lost`, of which the
    reader knows, when entries went faster than they were read. What went meanwhile may have left a hole: so again."""
    while True:
        portion = await source.read(context, after, limit)
        now_lost = await source.lost(context) if portion.lines else lost
        if now_lost <= max(lost, after):
            return portion, lost
        lost = now_lost


async def send_history(reader: Reader, lines: list[Line]) -> bool:
    """Sends what is stored to one reader at its own pace; False when it left."""
    for payload in payloads(lines, reader.format, reader.position):
        reader.send_own(payload)
        if not await reader.drained():
            return False
    if lines:
        reader.position = max(reader.position, lines[-1][0])
    return reader.is_open
