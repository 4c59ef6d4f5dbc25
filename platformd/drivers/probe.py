"""When a task is ready, and whether it stays well: one timer for all tasks that are looked at.

Ready is a listener of the task's own that accepts a connection, with a health path a 2xx there; for an inherited
listener the first HTTP answer; without a port a second of life. Probing begins with `watch` as soon as the process is
known (before that nothing could be said to be its own) and ends with `stop`. Called by the native driver, on the loop
thread only; no step takes longer than some microseconds.
"""

from __future__ import annotations

import heapq
import itertools
from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass, field

from platformd import clock
from platformd.domain.events import HealthLost, HealthMissed, HealthRestored
from platformd.domain.policy import WORKER_READY_AFTER
from platformd.domain.spec import Networking, Protocol
from platformd.drivers import proc
from platformd.drivers.health import HealthRecord, good
from platformd.drivers.http_check import HttpCheck
from platformd.ownership import HOST, Listener, Listeners, connects, holder, holds
from platformd.timerfd import Timer

HealthFact = HealthMissed | HealthRestored | HealthLost

_SHORTEST_GAP, _LONGEST_GAP, _GAP_OF_ELAPSED = 0.000_25, 0.050, 0.04
_GAP_EACH = 0.000_03  # times the number of starting tasks: probing never takes more than a third of the loop
_PROBES_PER_TICK, _BREATHER = 48, 0.000_1
_CLOSEST_RELATIVES = 32
_SEARCH_AGAIN = 1.0


def _nobody(_inode: int) -> None:
    return


def _nowhere(_inode: int, answer: Callable[[bool], None]) -> None:
    answer(False)


@dataclass(slots=True, kw_only=True)
class Target:
    """What to look at, and whom to tell. `search(inode, answer)` finds out, off the loop, whether any process of the
    task holds that socket. `on_stranger` is told once when somebody else listens on the task's port. Without a `pid`
    the address is the task's own, and nobody else can listen there; `must_answer`: a connection proves nothing, since
    somebody accepts it on the task's behalf."""

    task_id: str
    pid: int | None
    port: int | None
    host: str = HOST
    must_answer: bool = False
    networking: Networking
    on_ready: Callable[[], None]
    on_health: Callable[[HealthFact], None]
    on_stranger: Callable[[int], None] = _nobody
    search: Callable[[int, Callable[[bool], None]], None] = _nowhere


@dataclass(slots=True)
class _Watch:
    target: Target
    since: float
    ready: bool
    health: HealthRecord | None
    check: HttpCheck | None = None
    searching: bool = False
    stranger: int | None = None
    owned: int | None = None
    stranger_until: float = 0.0
    told_of_stranger: bool = False
    ended: bool = field(default=False)

    @property
    def port(self) -> int:
        assert self.target.port is not None  # protocol none has no port and is never asked for it
        return self.target.port


class Prober:
    """All tasks that are being looked at."""

    def __init__(self, loop: AbstractEventLoop, listeners: Listeners) -> None:
        self._loop, self._listeners = loop, listeners
        self._timer = Timer(loop, self._tick)
        self._watches: dict[str, _Watch] = {}
        self._due: list[tuple[float, int, _Watch]] = []
        self._order = itertools.count()
        self._starting = 0

    @property
    def starting(self) -> int:
        """How many are launched and not ready yet; any thread may ask."""
        return self._starting

    def watch(self, target: Target, ready: bool = False) -> None:
        """Begin, at once; in place of an earlier watch of the same task. `ready`: only its health is of interest."""
        self.stop(target.task_id)
        path = target.networking.health_path
        if ready and path is None:
            return
        watch = _Watch(target, clock.monotonic(), ready, None if path is None else HealthRecord(path))
        self._watches[target.task_id] = watch
        self._starting += not ready
        self._schedule(watch, self._first_pause(watch))
        self._arm()

    def stop(self, task_id: str) -> None:
        """Look at it no more; harmless when nobody did."""
        watch = self._watches.pop(task_id, None)
        if watch is None:
            return
        watch.ended = True
        self._starting -= not watch.ready
        if watch.check is not None:
            watch.check.cancel()

    def close(self) -> None:
        for task_id in list(self._watches):
            self.stop(task_id)
        self._due.clear()
        self._timer.close()

    # ---- time ----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = clock.monotonic()
        for _ in range(_PROBES_PER_TICK):
            if not self._due or self._due[0][0] > now:
                break
            watch = heapq.heappop(self._due)[2]
            if not watch.ended:
                self._step(watch, now)
        self._arm()

    def _arm(self) -> None:
        while self._due and self._due[0][2].ended:
            heapq.heappop(self._due)
        if self._due:
            self._timer.set(max(_BREATHER, self._due[0][0] - clock.monotonic()))

    def _schedule(self, watch: _Watch, pause: float) -> None:
        heapq.heappush(self._due, (clock.monotonic() + pause, next(self._order), watch))

    def _first_pause(self, watch: _Watch) -> float:
        if watch.ready:
            return watch.target.networking.health_interval_secs
        alone = watch.target.networking.protocol is Protocol.NONE
        return WORKER_READY_AFTER.total_seconds() if alone else 0.0

    def _again(self, watch: _Watch) -> None:
        gap = (clock.monotonic() - watch.since) * _GAP_OF_ELAPSED
        crowd = self._starting * _GAP_EACH
        self._schedule(watch, min(_LONGEST_GAP, max(_SHORTEST_GAP, crowd, gap)))

    # ---- one look ------------------------------------------------------------------------------------------

    def _step(self, watch: _Watch, now: float) -> None:
        target = watch.target
        networking = target.networking
        if networking.protocol is Protocol.NONE:
            self._ready(watch)
        elif networking.protocol is Protocol.HTTP and not self._own_listener(watch, now):
            self._missed(watch)
        elif (
            networking.protocol is Protocol.HTTP and networking.health_path is None and not target.must_answer
        ):
            self._ready(watch) if connects(watch.port, target.host) else self._again(watch)
        else:
            self._ask(watch)

    def _ask(self, watch: _Watch) -> None:
        networking = watch.target.networking
        watch.check = HttpCheck(
            self._loop,
            watch.port,
            networking.health_path or "/",
            networking.health_timeout_secs,
            lambda status: self._answered(watch, status),
            watch.target.host,
        )

    def _answered(self, watch: _Watch, status: int | None) -> None:
        watch.check = None
        if watch.ready:
            self._observe(watch, status)
        elif good(status) or (status is not None and watch.health is None):
            self._ready(watch)
        else:
            self._again(watch)
        self._arm()

    def _missed(self, watch: _Watch) -> None:
        if watch.ready:
            self._observe(watch, None)
        else:
            self._again(watch)

    def _ready(self, watch: _Watch) -> None:
        watch.ready = True
        self._starting -= 1
        if watch.health is None:
            self.stop(watch.target.task_id)
        else:
            self._schedule(watch, watch.target.networking.health_interval_secs)
        watch.target.on_ready()

    def _observe(self, watch: _Watch, status: int | None) -> None:
        assert watch.health is not None
        fact = watch.health.observe(status, clock.monotonic())
        if watch.health.lost:
            self.stop(watch.target.task_id)
        else:
            self._schedule(watch, watch.target.networking.health_interval_secs)
        if fact is not None:
            watch.target.on_health(fact)

    # ---- whose listener ------------------------------------------------------------------------------------

    def _own_listener(self, watch: _Watch, now: float) -> bool:
        if watch.target.pid is None:
            return True
        listener = self._listeners.at(watch.port)
        if listener is None:
            return False
        if watch.owned == listener.inode or _close_relative_holds(watch.target.pid, listener):
            watch.owned = listener.inode
            return True
        if not watch.searching and (listener.inode != watch.stranger or now >= watch.stranger_until):
            watch.searching = True
            watch.target.search(listener.inode, lambda own: self._found(watch, listener.inode, own))
        return False

    def _found(self, watch: _Watch, inode: int, own: bool) -> None:
        """The answer of a search; on the loop."""
        if watch.ended:
            return
        watch.searching = False
        if own:
            watch.owned = inode
            return
        watch.stranger, watch.stranger_until = inode, clock.monotonic() + _SEARCH_AGAIN
        if not watch.told_of_stranger:
            watch.told_of_stranger = True
            watch.target.on_stranger(inode)


def _close_relative_holds(pid: int, listener: Listener) -> bool:
    held = holds(pid, listener.inode)
    if held is None:  # a program that hides its descriptors; then its user has to do
        return proc.uid(pid) == listener.uid
    return held or holder(listener.inode, proc.below([pid], _CLOSEST_RELATIVES) or ()) is not None
