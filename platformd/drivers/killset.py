"""Which processes belong to a task.

Belonging: in its cgroup, or started with its marker (TASK_ID) in the environment, or in the session of its first
process, or a descendant of any of these. One scan of /proc answers for any number of tasks. Used in the driver's
workers; a `Markers` belongs to one thread at a time, the rest is read only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from platformd.drivers import proc
from platformd.drivers.cgroup import Group
from platformd.drivers.proc import Process
from platformd.keeper.wire import GATEWAY_PREFIX

_MOST_REFRESHES = 12


@dataclass(slots=True)
class Family:
    """What is known of a task's processes: its first one, `pid` since `start_time`, whose session bears that number.

    `complete`: all of them are in `group`. `session_counts` is False when the first process may have ended so long
    ago that the number can be somebody else's by now.
    """

    task_id: str
    pid: int
    start_time: int
    group: Group | None = None
    complete: bool = False
    session_counts: bool = True

    def is_first(self, process: Process) -> bool:
        return process.pid == self.pid and process.start_time == self.start_time


class Markers:
    """The marker of each live process, read once in its life."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str | None] = {}

    def keep(self, processes: Iterable[Process]) -> None:
        """Forget all but these."""
        alive = {(process.pid, process.start_time) for process in processes}
        self._known = {key: marker for key, marker in self._known.items() if key in alive}

    def of(self, process: Process) -> str | None:
        """The task id it was started with."""
        key = process.pid, process.start_time
        if key in self._known:
            return self._known[key]
        environ = proc.environ(process.pid)
        marker = environ.get("TASK_ID")
        if environ:  # in the middle of an exec there is none to be read
            self._known[key] = marker
        return marker


class Scan:
    """The live processes at one moment. Markers are read for those that started at `since` or later."""

    def __init__(self, markers: Markers, since: int = 0) -> None:
        self._markers, self._since = markers, since
        self._forks = proc.forks()
        self.table: dict[int, Process] = {}
        self._marked: dict[str, list[Process]] = {}
        self._children: dict[int, list[Process]] = {}
        self._sessions: dict[int, list[Process]] = {}
        self._add(proc.table())
        markers.keep(self.table.values())

    def members(self, family: Family) -> list[Process]:
        """The live processes of a task. None only after a moment in which nothing was started on the machine:
        what forks and exits all the time is missed by any single look."""
        found = self._members(family)
        for _ in range(_MOST_REFRESHES):
            if found or not self._refresh():
                break
            found = self._members(family)
        return found

    def _refresh(self) -> bool:
        """Take in who has come since; False when nobody can have."""
        forks = proc.forks()
        if forks is not None and forks == self._forks:
            return False
        self._forks = forks
        self._add(proc.pick(pid for pid in proc.pids() if pid not in self.table))
        return True

    def _add(self, processes: dict[int, Process]) -> None:
        self.table.update(processes)
        for process in processes.values():
            self._children.setdefault(process.parent, []).append(process)
            self._sessions.setdefault(process.session, []).append(process)
            if process.start_time >= self._since and (marker := self._markers.of(process)) is not None:
                self._marked.setdefault(marker, []).append(process)

    def _members(self, family: Family) -> list[Process]:
        found = {process.pid: process for process in self._evident(family)}
        waiting = list(found)
        while waiting:
            for child in self._children.get(waiting.pop(), ()):
                if child.pid not in found and child.start_time >= family.start_time:
                    found[child.pid] = child
                    waiting.append(child.pid)
        return list(found.values())

    def _evident(self, family: Family) -> Iterable[Process]:
        first = self.table.get(family.pid)
        if first is not None and family.is_first(first):
            yield first
        if family.group is not None:
            yield from _living(family.group)
        yield from self._marked.get(family.task_id, ())
        if family.session_counts and (first is None or family.is_first(first)):
            session = self._sessions.get(family.pid, ())
            yield from (process for process in session if process.start_time >= family.start_time)


def in_group(family: Family) -> list[Process] | None:
    """The short way: the live processes of a task that is known to be all in its cgroup; None when it is not."""
    if not family.complete or family.group is None:
        return None
    found = _living(family.group)
    first = proc.read(family.pid)
    if (
        first is not None
        and first.alive
        and family.is_first(first)
        and all(first.pid != each.pid for each in found)
    ):
        found.append(first)
    return found


def _living(group: Group) -> list[Process]:
    """None only when the kernel lists none, or only dead ones again and again: a living one may fork and exit between
    the list and the look at it."""
    for _ in range(_MOST_REFRESHES):
        pids = group.pids()
        found = list(proc.pick(pids).values())
        if found or not pids:
            return found
    return []


def find(family: Family) -> list[Process]:
    """The live processes of a task now."""
    found = in_group(family)
    return Scan(Markers(), family.start_time).members(family) if found is None else found


def strays(known: Iterable[str], folder: str) -> dict[str, list[Process]]:
    """Task id → processes with that marker whose working directory is `folder`/<task id>, for tasks not `known`.

    The directory is asked for because markers alone could be another server's.
    """
    ours, markers = set(known), Markers()
    found: dict[str, list[Process]] = {}
    for process in proc.table().values():
        task_id = markers.of(process)
        if task_id is None or task_id in ours or task_id.startswith(GATEWAY_PREFIX):
            continue
        if proc.folder(process.pid) != f"{folder}/{task_id}":
            continue
        found.setdefault(task_id, []).append(process)
    return found
