"""Who hears of changes: long polls, followers of events and of log lines wait here.

`publish` and `lines` are called from any thread, by the store's post-commit callback and the keeper's link; each is
one hop to the loop. Everything else belongs to the loop's thread. Nothing is kept here: what was missed is read from
the rows and the logs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from platformd.domain.notice import Event, Filter

__all__ = ["Event", "Filter", "Hub"]

K = TypeVar("K")
Revisions = Mapping[tuple[str, str], int]


class Hub:
    """The one place changes go to. `publish` is what the store is given as its post-commit callback."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._last_id = 0
        self._revision_waits: dict[tuple[str, str], set[_Wait]] = {}
        self._line_waits: dict[str, set[_Wait]] = {}
        self._event_waits: dict[Filter, set[_Wait]] = {}
        self._closed = False

    # ---- any thread ----------------------------------------------------------------------------------------

    def publish(self, events: Sequence[Event], revisions: Revisions | None = None) -> None:
        """Events in commit order and, by (kind, id), the revisions that are durable now."""
        if events or revisions:
            self._hop(self._deliver, tuple(events), dict(revisions or {}))

    def lines(self, last_ids: Mapping[str, int]) -> None:
        """The last line's id of each deployment that wrote something."""
        if last_ids:
            self._hop(self._deliver_lines, dict(last_ids))

    def _hop(self, deliver: Callable[..., None], *payload: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            self._loop.call_soon_threadsafe(deliver, *payload)

    # ---- the loop's thread ---------------------------------------------------------------------------------

    @property
    def last_id(self) -> int:
        """The newest event's id that was told here; 0 before the first."""
        return self._last_id

    async def wait_revision(self, kind: str, id: str, above: int, within: float) -> bool:
        """True as soon as the object's revision is above `above`, False after `within` seconds. Read the row
        first, without awaiting in between: a change committed before that read is not announced again."""
        return await self._wait(self._revision_waits, (kind, id), above, within)

    async def wait_lines(self, deployment_id: str, above: int, within: float) -> bool:
        """True as soon as the deployment wrote a log line with an id above `above`, False after `within`
        seconds."""
        return await self._wait(self._line_waits, deployment_id, above, within)

    async def wait_event(self, filter: Filter, above: int, within: float) -> bool:
        """True as soon as something the filter wants has happened with an id above `above`, False after `within`
        seconds."""
        return await self._wait(self._event_waits, filter, above, within)

    def close(self) -> None:
        """End every wait."""
        self._closed = True
        for waits in (self._revision_waits, self._line_waits, self._event_waits):
            for wait in [wait for waiting in waits.values() for wait in waiting]:
                wait.settle(False)

    async def _wait(self, waits: dict[K, set[_Wait]], key: K, above: int, within: float) -> bool:
        if self._closed:
            return False
        wait = _Wait(above, self._loop.create_future())
        waits.setdefault(key, set()).add(wait)
        try:
            return await asyncio.wait_for(wait.future, within)
        except TimeoutError:
            return False
        finally:
            remaining = waits[key]
            remaining.discard(wait)
            if not remaining:
                del waits[key]

    def _deliver(self, events: Sequence[Event], revisions: Revisions) -> None:
        for event in events:
            self._last_id = event.id
            for filter, waits in tuple(self._event_waits.items()):
                if filter.wants(event.notice):
                    _settle(waits, event.id)
        for key, revision in revisions.items():
            _settle(self._revision_waits.get(key), revision)

    def _deliver_lines(self, last_ids: Mapping[str, int]) -> None:
        for deployment_id, last_id in last_ids.items():
            _settle(self._line_waits.get(deployment_id), last_id)


class _Wait:
    __slots__ = ("above", "future")

    def __init__(self, above: int, future: asyncio.Future[bool]) -> None:
        self.above = above
        self.future = future

    def settle(self, outcome: bool) -> None:
        if not self.future.done():
            self.future.set_result(outcome)


def _settle(waits: set[_Wait] | None, value: int) -> None:
    for wait in waits or ():
        if value > wait.above:
            wait.settle(True)
