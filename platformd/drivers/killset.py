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

    def read(self, processes: Iterable[Process]) -> dict[str, list[Process]]:
        """Task id → its marked processes, among `processes`; others are forgotten."""
        before, self._known = self._known, {}
        found: dict[str, list[Process]] = {}
        for process in processes:
            key = process.pid, process.start_time
            environ = {} if key in before else proc.environ(process.pid)
            marker = before[key] if key in before else environ.get("TASK_ID")
            if key in before or environ:  # in the middle of an exec there is none to be read
                self._known[key] = marker
            if marker is not None:
                found.setdefault(marker, []).append(process)
        return found


class Scan:
    """All live processes at one moment. Markers are read for those that started at `since` or later."""

    def __init__(self, markers: Markers, since: int = 0) -> None:
        self.table = proc.table()
        self._marked = markers.read(process for process in self.table.values() if process.start_time >= since)
        self._children: dict[int, list[Process]] = {}
        self._sessions: dict[int, list[Process]] = {}
        for process in self.table.values():
            self._children.setdefault(process.parent, []).append(process)
            self._sessions.setdefault(process.session, []).append(process)

    def members(self, family: Family) -> list[Process]:
        """The live processes of a task."""
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
            yield from (self.table[pid] for pid in family.group.pids() if pid in self.table)
        yield from self._marked.get(family.task_id, ())
        if family.session_counts and (first is None or family.is_first(first)):
            session = self._sessions.get(family.pid, ())
            yield from (process for process in session if process.start_time >= family.start_time)


def in_group(family: Family) -> list[Process] | None:
    """The short way: the live processes of a task that is known to be all in its cgroup; None when it is not."""
    if not family.complete or family.group is None:
        return None
    found = proc.pick(family.group.pids())
    first = proc.read(family.pid)
    if first is not None and first.alive and family.is_first(first):
        found[first.pid] = first
    return list(found.values())


def find(family: Family) -> list[Process]:
    """The live processes of a task now."""
    found = in_group(family)
    return Scan(Markers(), family.start_time).members(family) if found is None else found


def strays(known: Iterable[str], folder: str) -> dict[str, list[Process]]:
    """Task id → processes with that marker whose working directory is `folder`/<task id>, for tasks not `known`.

    The directory is asked for because markers alone could be another server's.
    """
    marked = Markers().read(proc.table().values())
    unknown = marked.keys() - set(known)
    found = {
        task_id: [process for process in marked[task_id] if proc.folder(process.pid) == f"{folder}/{task_id}"]
        for task_id in unknown
    }
    return {task_id: processes for task_id, processes in found.items() if processes}
