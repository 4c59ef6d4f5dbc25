"""The end of tasks: signals to every process of theirs, in rounds until nothing is left.

Signals go through pidfds whose start time was read again after opening. All tasks being ended share each round's scan
of /proc, and one worker at a time does the rounds; between them no thread waits. Any thread asks; `done` and `stuck`
are called in a worker.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from platformd import clock
from platformd.drivers import proc
from platformd.drivers.cgroup import Group
from platformd.drivers.killset import Family, Markers, Scan, find, in_group
from platformd.drivers.proc import Process
from platformd.drivers.workers import Workers

_EAGER_ROUNDS, _FIRST_PAUSE, _LONGEST_PAUSE = 50, 0.002, 1.0
_COMPLAIN_AFTER = 10.0
_WAIT_TICK = 0.02

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class End:
    """`done` once nothing of the family lives; `stuck` once, with what does not die, if that takes long."""

    family: Family
    done: Callable[[], None]
    stuck: Callable[[list[Process]], None]
    since: float = field(default_factory=clock.monotonic)
    killed: set[tuple[int, int]] = field(default_factory=set)
    complained: bool = False


class Ender:
    """Everything that is being signalled or ended."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._markers = Markers()
        self._lock = threading.Lock()
        self._ends: dict[str, End] = {}
        self._signals: list[tuple[Family, int]] = []
        self._working = self._asked = False
        self._turn = 0
        self._pause = _FIRST_PAUSE

    def signal(self, family: Family, number: int) -> None:
        """Once, to every process of the task."""
        with self._lock:
            self._signals.append((family, number))
        self._wake()

    def end(self, end: End) -> None:
        """SIGKILL until nothing is left. A second one for the same task takes the first one's place."""
        with self._lock:
            self._ends[end.family.task_id] = end
        self._wake()

    def drop(self, task_id: str) -> None:
        """Leave a task alone."""
        with self._lock:
            self._ends.pop(task_id, None)

    # ---- turns of a worker: never two at once, a pause is cut short by a new wish ----------------------------

    def _wake(self) -> None:
        with self._lock:
            self._asked, self._pause = True, _FIRST_PAUSE
            if self._working:
                return
            turn = self._next_turn()
        self._workers.submit(lambda: self._work(turn))

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    def _work(self, turn: int) -> None:
        with self._lock:
            if self._working or turn != self._turn:
                return
            self._working = True
        try:
            self._rounds()
        except Exception:
            log.exception("a round of ending tasks failed; it is tried again", tasks=sorted(self._ends))
        with self._lock:
            self._working = False
            if not self._asked and not self._ends:
                return
            pause, turn = 0.0 if self._asked else self._pause, self._next_turn()
            self._pause = min(_LONGEST_PAUSE, self._pause * 2)
        self._workers.later(pause, lambda: self._work(turn))

    def _rounds(self) -> None:
        """At once again as long as that finds something new: what forks while it dies is outrun, not waited for."""
        for _ in range(_EAGER_ROUNDS):
            with self._lock:
                self._asked = False
                signals, self._signals = self._signals, []
                ends = list(self._ends.values())
            if not (signals or ends) or not self._one_round(signals, ends):
                return

    def _one_round(self, signals: list[tuple[Family, int]], ends: list[End]) -> bool:
        """True when it killed something."""
        look = _Look(self._markers, [family for family, _ in signals] + [end.family for end in ends])
        for family, number in signals:
            for process in look.members(family):
                proc.send(process.pid, process.start_time, number)
        killed = [self._kill(end, look.members(end.family)) for end in ends]
        return any(killed)

    def _kill(self, end: End, processes: list[Process]) -> bool:
        if not processes:
            with self._lock:
                if self._ends.get(end.family.task_id) is not end:
                    return False
                del self._ends[end.family.task_id]
            end.done()
            return False
        if not end.killed and end.family.group is not None:
            _end_group(end.family.group)
        fresh = [process for process in processes if (process.pid, process.start_time) not in end.killed]
        for process in fresh:
            if proc.send(process.pid, process.start_time, signal.SIGKILL):
                end.killed.add((process.pid, process.start_time))
        if not end.complained and clock.monotonic() - end.since > _COMPLAIN_AFTER:
            end.complained = True
            end.stuck(processes)
        return bool(fresh)


class _Look:
    """Who lives now: by cgroup where that says it all, else by a scan that is made once, when first needed."""

    def __init__(self, markers: Markers, families: list[Family]) -> None:
        self._markers = markers
        self._since = min(family.start_time for family in families)
        self._scan: Scan | None = None

    def members(self, family: Family) -> list[Process]:
        found = in_group(family)
        if found is not None:
            return found
        if self._scan is None:
            self._scan = Scan(self._markers, self._since)
        return self._scan.members(family)


def _end_group(group: Group) -> None:
    try:
        group.end()
    except OSError as error:
        log.warning("a cgroup could not be ended whole; its processes are, one by one", error=str(error))


def end_and_wait(family: Family, number: int, grace_secs: float) -> None:
    """Signal everything, wait until nothing lives or the grace is over, then kill for some seconds. Blocks."""
    pause = threading.Event()
    for wanted, patience in ((number, grace_secs), (signal.SIGKILL, _COMPLAIN_AFTER)):
        deadline = clock.monotonic() + patience
        sent: set[tuple[int, int]] = set()
        while processes := find(family):
            for process in processes:
                key = process.pid, process.start_time
                if key not in sent and (not sent or wanted == signal.SIGKILL):
                    proc.send(process.pid, process.start_time, wanted)
            sent.update((process.pid, process.start_time) for process in processes)
            if clock.monotonic() >= deadline:
                break
            pause.wait(_WAIT_TICK)
        else:
            return
