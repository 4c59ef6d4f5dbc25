"""Who hears of changes: a ring of past notices, subscriptions, long polls, and new log lines.

`publish` and `lines` are called from any thread, by the store's post-commit callback and the keeper's link; each is
one hop to the loop. Everything else belongs to the loop's thread. A subscriber that does not keep up loses its place
(`Overrun`), it never slows a publisher.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from platformd import clock
from platformd.domain.notice import Notice

__all__ = ["Event", "Filter", "Hub", "Notice", "Overrun", "Subscription"]

RING = 10_000
BUFFER = 1_000

K = TypeVar("K")
Revisions = Mapping[tuple[str, str], int]


class Overrun(Exception):
    """The subscriber was too slow and notices are gone; `resume_after` is the last id it was given."""

    def __init__(self, resume_after: int | None) -> None:
        super().__init__(f"reader too slow; resume after {resume_after}")
        self.resume_after = resume_after


@dataclass(frozen=True, slots=True)
class Event:
    """A published notice: ids rise by at least one, across restarts too (they start from microseconds)."""

    id: int
    at: datetime
    notice: Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which notices a subscriber wants; None is all. `types` are exact or end in "." ("deployment.")."""

    app_id: str | None = None
    deployment_id: str | None = None
    kinds: frozenset[str] | None = None
    types: frozenset[str] | None = None

    def wants(self, notice: Notice) -> bool:
        if self.app_id is not None and notice.app_id != self.app_id:
            return False
        if self.deployment_id is not None and notice.deployment_id != self.deployment_id:
            return False
        if self.kinds is not None and notice.kind not in self.kinds:
            return False
        return self.types is None or any(_matches(notice.type, wanted) for wanted in self.types)


class Subscription:
    """One reader's place: `async for event in subscription`. Ends when closed, raises `Overrun` when it fell
    behind. `missed` says that notices it asked to resume after are not kept any more."""

    def __init__(self, filter: Filter, close: Callable[[Subscription], None], missed: bool) -> None:
        self.filter = filter
        self.missed = missed
        self._close = close
        self._events: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._last: int | None = None
        self._overrun = False
        self._closed = False

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            if self._overrun:
                self.close()
                raise Overrun(self._last)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        event = self._events.popleft()
        self._last = event.id
        return event

    def close(self) -> None:
        """What is buffered can still be read; then the iteration ends."""
        self._close(self)
        self._closed = True
        self._wake()

    def _offer(self, event: Event) -> None:
        if self._overrun or not self.filter.wants(event.notice):
            return
        if len(self._events) >= BUFFER:
            self._overrun = True
            return
        self._events.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Hub:
    """The one place notices go to. `publish` is what the store is given as its post-commit callback."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: int = RING) -> None:
        self._loop = loop
        self._ring: deque[Event] = deque(maxlen=ring)
        self._last_id = self._forgotten_id = _microseconds(clock.now())
        self._subscriptions: set[Subscription] = set()
        self._revision_waits: dict[tuple[str, str], set[_Wait]] = {}
        self._line_waits: dict[str, set[_Wait]] = {}
        self._closed = False

    # ---- any thread ----------------------------------------------------------------------------------------

    def publish(self, notices: Sequence[Notice], revisions: Revisions | None = None) -> None:
        """Notices in commit order and, by (kind, id), the revisions that are durable now."""
        if notices or revisions:
            self._hop(self._deliver, tuple(notices), dict(revisions or {}))

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
        """The newest notice's id; before the first an id that everything later is above."""
        return self._last_id

    def subscribe(self, filter: Filter | None = None, after: int | None = None) -> Subscription:
        """From now on, or from the first kept notice after the id `after`."""
        filter = filter or Filter()
        past = [event for event in self._ring if event.id > after] if after is not None else []
        missed = after is not None and after < self._forgotten_id
        subscription = Subscription(filter, self._subscriptions.discard, missed)
        for event in past:
            subscription._offer(event)
        if self._closed:
            subscription.close()
        else:
            self._subscriptions.add(subscription)
        return subscription

    async def wait_revision(self, kind: str, id: str, above: int, within: float) -> bool:
        """True as soon as the object's revision is above `above`, False after `within` seconds. Read the row
        first, without awaiting in between: a change committed before that read is not announced again."""
        return await self._wait(self._revision_waits, (kind, id), above, within)

    async def wait_lines(self, deployment_id: str, above: int, within: float) -> bool:
        """True as soon as the deployment wrote a log line with an id above `above`, False after `within`
        seconds."""
        return await self._wait(self._line_waits, deployment_id, above, within)

    def close(self) -> None:
        """End every subscription and every wait."""
        self._closed = True
        for subscription in tuple(self._subscriptions):
            subscription.close()
        for waits in (*self._revision_waits.values(), *self._line_waits.values()):
            for wait in waits:
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

    def _deliver(self, notices: Sequence[Notice], revisions: Revisions) -> None:
        at = clock.now()
        floor = _microseconds(at)
        for notice in notices:
            self._last_id = max(self._last_id + 1, floor)
            if len(self._ring) == self._ring.maxlen:
                self._forgotten_id = self._ring[0].id
            event = Event(self._last_id, at, notice)
            self._ring.append(event)
            for subscription in self._subscriptions:
                subscription._offer(event)
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


def _microseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


def _matches(type: str, wanted: str) -> bool:
    return type.startswith(wanted) if wanted.endswith(".") else type == wanted
