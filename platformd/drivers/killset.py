"""Which processes belong to a task, and their end.

Belonging: in its cgroup, or started with its marker (TASK_ID) in the environment, or in the session of its first
process, or a descendant of any of these. `Ender` signals through pidfds whose start time was read again, in rounds until
nothing is left; one scan of /proc serves all tasks that are being ended. Runs in the driver's workers; any thread asks.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from platformd import clock
from platformd.drivers import proc
from platformd.drivers.cgroup import Group
from platformd.drivers.proc import Process
from platformd.drivers.workers import Workers

_EAGER_ROUNDS, _FIRST_PAUSE, _LONGEST_PAUSE = 6, 0.002, 1.0
_COMPLAIN_AFTER = 10.0


@dataclass(slots=True)
class Family:
    """What is known of a task's processes. `start_time` is that of the first process `pid`; its session bears its number.
    `session_counts` is False when the first process may have ended so long ago that the number can be somebody else's."""

    task_id: str
    pid: int
    start_time: int
    group: Group | None = None
    complete: bool = False
    session_counts: bool = True
    strangers: set[tuple[int, int]] = field(default_factory=set)
    """(pid, start time) of those whose environment was looked at in vain."""


def members(family: Family, table: Mapping[int, Process], kin: Mapping[int, list[int]]) -> list[Process]:
    """The live processes of a task, out of a table and its parent → children."""
    found: dict[int, Process] = {}
    if family.group is not None:
        found.update((pid, table[pid]) for pid in family.group.pids() if pid in table)
    first = table.get(family.pid)
    if first is not None and first.start_time == family.start_time:
        found[first.pid] = first
    session_is_ours = family.session_counts and (first is None or first.start_time == family.start_time)
    for process in table.values():
        if process.pid in found or process.start_time < family.start_time:
            continue
        if (session_is_ours and process.session == family.pid) or _marked(family, process):
            found[process.pid] = process
    waiting = list(found)
    while waiting:
        for pid in kin.get(waiting.pop(), ()):
            if pid not in found and table[pid].start_time >= family.start_time:
                found[pid] = table[pid]
                waiting.append(pid)
    return list(found.values())


def _marked(family: Family, process: Process) -> bool:
    if (process.pid, process.start_time) in family.strangers:
        return False
    if proc.has_marker(process.pid, family.task_id):
        return True
    family.strangers.add((process.pid, process.start_time))
    return False


def find(family: Family) -> list[Process]:
    """The live processes of a task now."""
    table = proc.table()
    return members(family, table, proc.families(table))


@dataclass(slots=True)
class _End:
    family: Family
    done: Callable[[], None]
    stuck: Callable[[list[Process]], None]
    since: float
    rounds: int = 0
    complained: bool = False


class Ender:
    """Ends tasks, many at a time, in one job at a time."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._ends: dict[str, _End] = {}
        self._signals: list[tuple[Family, int]] = []
        self._running = False
        self._round = 0

    def signal(self, family: Family, number: int) -> None:
        """Once, to every process of the task."""
        with self._lock:
            self._signals.append((family, number))
        self._wake()

    def end(self, family: Family, done: Callable[[], None], stuck: Callable[[list[Process]], None]) -> None:
        """SIGKILL until nothing is left, then `done`; `stuck` is told once what will not die for long."""
        with self._lock:
            known = self._ends.get(family.task_id)
            self._ends[family.task_id] = _End(
                family, done, stuck, known.since if known else clock.monotonic()
            )
        self._wake()

    def drop(self, task_id: str) -> None:
        """Forget about a task."""
        with self._lock:
            self._ends.pop(task_id, None)

    def _wake(self) -> None:
        with self._lock:
            self._round = 0
            if self._running:
                return
            self._running = True
        self._workers.submit(self._work)

    def _work(self) -> None:
        """Some rounds at once, for what forks as it dies; then pauses that grow, without keeping the thread."""
        for _ in range(_EAGER_ROUNDS):
            with self._lock:
                signals, self._signals = self._signals, []
                ends = list(self._ends.values())
                self._round += 1
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._round, 16))
                if not signals and not ends:
                    self._running = False
                    return
            try:
                progress = self._one_round(signals, ends)
            except BaseException:
                self._workers.later(_LONGEST_PAUSE, self._work)
                raise
            if not progress:
                break
        self._workers.later(pause, self._work)

    def _one_round(self, signals: list[tuple[Family, int]], ends: list[_End]) -> bool:
        """True when something new was found and signalled, so that looking again at once is worth it."""
        ends = [end for end in ends if not self._gone_by_group(end)]
        if not signals and not ends:
            return True
        table = proc.table()
        kin = proc.families(table)
        for family, number in signals:
            for process in members(family, table, kin):
                proc.send(process.pid, process.start_time, number)
        return any([self._kill(end, members(end.family, table, kin)) for end in ends])  # noqa: C419 - all of them

    def _gone_by_group(self, end: _End) -> bool:
        """The short way: everything of the task is known to be in its cgroup, and that is empty."""
        family = end.family
        if not family.complete or family.group is None or proc.pick(family.group.pids()):
            return False
        if proc.alive(family.pid, family.start_time):
            return False
        self._done(end)
        return True

    def _kill(self, end: _End, processes: list[Process]) -> bool:
        if not processes:
            self._done(end)
            return True
        if end.rounds == 0 and end.family.group is not None:
            _refuse_forks(end.family.group)
        end.rounds += 1
        for process in processes:
            proc.send(process.pid, process.start_time, signal.SIGKILL)
        if not end.complained and clock.monotonic() - end.since > _COMPLAIN_AFTER:
            end.complained = True
            end.stuck(processes)
        return end.rounds < _EAGER_ROUNDS

    def _done(self, end: _End) -> None:
        with self._lock:
            if self._ends.get(end.family.task_id) is end:
                del self._ends[end.family.task_id]
        end.done()


def _refuse_forks(group: Group) -> None:
    try:
        group.end()
    except OSError:
        return


def strays(known: Iterable[str], folder: str) -> dict[str, list[Process]]:
    """Task id → processes that work in `folder`/<task id> and bear that marker, but belong to no `known` task."""
    found: dict[str, list[Process]] = {}
    ours = set(known)
    for process in proc.table().values():
        task_id = proc.environ(process.pid).get("TASK_ID")
        if task_id is not None and task_id not in ours and proc.folder(process.pid) == f"{folder}/{task_id}":
            found.setdefault(task_id, []).append(process)
    return found
