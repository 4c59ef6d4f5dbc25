"""Resources of native tasks: a cgroup each where that can be had, else the memory watch; who was killed for memory.

Called by the native driver. Nothing here is on the way of a wake: a task is put into its cgroup 30 ms after its start
(230 while many start), since moving a process makes every fork on the machine wait some milliseconds; by then a quick
app has answered its first request. Its memory limit applies from there on, its processor cap from when it is ready too.
The work is done in the driver's workers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import structlog

from platformd.domain.spec import CpuPolicy
from platformd.drivers import proc
from platformd.drivers.cgroup import Group
from platformd.drivers.cgroup_places import Cgroups
from platformd.drivers.killset import Family, Markers, Scan
from platformd.drivers.memory_watch import MemoryWatch
from platformd.drivers.run import Run
from platformd.drivers.workers import Workers

ATTACH_AFTER_SECS = 0.03
_STORM, _STORM_PAUSE, _STORM_PATIENCE = 4, 0.05, 4
_GATHER_ROUNDS, _REMOVE_TRIES, _REMOVE_PAUSE = 8, 8, 0.05

log = structlog.get_logger(__name__)


class Limits:
    """`starting()` is how many tasks are about to get ready, `say(run, text)` writes a system line, `kill(run)` ends a
    task that the memory watch found beyond its limit."""

    def __init__(
        self,
        cgroups: Cgroups,
        workers: Workers,
        starting: Callable[[], int],
        say: Callable[[Run, str], None],
        kill: Callable[[Run], None],
    ) -> None:
        self._starting = starting
        self.cgroups = cgroups
        self.watch = MemoryWatch(workers, self._over)
        self._workers, self._say, self._kill = workers, say, kill

    def launched(self, run: Run) -> None:
        """Set its limits soon."""
        self._workers.later(ATTACH_AFTER_SECS, lambda: self._when_calm(run))

    def ready(self, run: Run) -> None:
        """Its start is over, `run.ready` says so: the processor cap applies, now or when the limits are set."""
        if run.limited:
            self._workers.submit(lambda: self._cap(run))

    def adopted(self, run: Run) -> None:
        """Set the limits again of a task that lived through a restart, in the cgroup it has. In a worker."""
        found = self.cgroups.group_of(run.family.pid, run.task_id) if self.cgroups.usable else None
        self._limit(run, found)

    def oom_killed(self, run: Run) -> bool:
        """Whether an ended task ended for want of memory. Reads one small file, so any thread may ask."""
        if run.over_memory:
            return True
        if run.exit is None or run.exit.clean or run.family.group is None:
            return False
        kills = run.family.group.oom_kills()
        return kills > run.ooms or (kills > 0 and run.exit.signal == "SIGKILL" and not run.killed)

    def look_for_ooms(self, run: Run) -> None:
        """Tell of processes of a living task that were killed for memory; what ends it later is then something else."""
        if not run.lives or run.family.group is None:
            return
        kills = run.family.group.oom_kills()
        if kills > run.ooms:
            run.ooms = kills
            self._say(run, f"{_beyond(run)}: a process of it was killed; raise resources.memory")

    def release(self, task_id: str, group: Group | None) -> None:
        """Remove a task's cgroup; what still keeps it is waited for a little."""
        if self.cgroups.usable:
            self._workers.submit(lambda: self._remove(group or self.cgroups.group(task_id), _REMOVE_TRIES))

    def tidy(self, known: Iterable[str]) -> None:
        """Remove empty cgroups of tasks that nobody knows any more. In a worker."""
        for task_id in set(self.cgroups.left_behind()) - set(known):
            self.cgroups.group(task_id).remove()

    # ---- in a worker ---------------------------------------------------------------------------------------

    def _when_calm(self, run: Run, patience: int = _STORM_PATIENCE) -> None:
        """While many start, they first: each move into a cgroup would hold them all up."""
        if patience and self._starting() > _STORM:
            self._workers.later(_STORM_PAUSE, lambda: self._when_calm(run, patience - 1))
        else:
            self._limit(run)

    def _limit(self, run: Run, found: Group | None = None) -> None:
        if run.limiting or not run.lives:
            return
        run.limiting = True
        group = found
        if self.cgroups.usable and group is None:
            group = self._new_group(run)
        if group is not None:
            run.family.group = group
            self._set(run, group)
            run.family.complete = _gather(run.family, group)
        if group is None or not group.caps_memory:
            self._say(run, _without_cgroup(run))
            self.watch.add(run)
        run.limited = True
        if run.ready:
            self._cap(run)
        if not run.lives:
            self.release(run.task_id, group)

    def _new_group(self, run: Run) -> Group | None:
        group = self.cgroups.group(run.task_id)
        try:
            group.create()
            return group
        except OSError as error:
            self._say(run, f"no cgroup can be made for it: {error}")
            group.remove()
            return None

    def _set(self, run: Run, group: Group) -> None:
        resources = run.order.spec.resources
        try:
            if group.caps_memory:
                group.limit_memory(resources.memory_bytes)
            if group.caps_cpu:
                group.weigh_cpu(resources.cpu_millis)
        except OSError as error:
            self._say(run, f"its limits cannot be set: {error}")

    def _cap(self, run: Run) -> None:
        group, resources = run.family.group, run.order.spec.resources
        if group is None or not group.caps_cpu or resources.cpu_policy is not CpuPolicy.CAP:
            return
        try:
            group.cap_cpu(resources.cpu_millis)
        except OSError as error:
            if run.lives:
                self._say(run, f"its processor cap of {resources.cpu} cannot be set: {error}")

    def _over(self, run: Run, used: int) -> None:
        run.over_memory = True
        self._say(run, f"{_beyond(run)} with {used >> 20} MiB; it is ended. Raise resources.memory")
        self._kill(run)

    def _remove(self, group: Group, tries: int) -> None:
        if not group.remove() and tries:
            pause = _REMOVE_PAUSE * 2 ** (_REMOVE_TRIES - tries)
            self._workers.later(pause, lambda: self._remove(group, tries - 1))


def _gather(family: Family, group: Group) -> bool:
    """Put the first process into the cgroup, then all it started before; True when nobody of it is left outside."""
    with contextlib.suppress(OSError):
        group.add(family.pid)
    for _ in range(_GATHER_ROUNDS):
        inside = set(group.pids())
        outside = [pid for pid in _relatives(family) if pid not in inside]
        if not outside:
            return family.pid in inside
        for pid in outside:
            with contextlib.suppress(OSError):
                group.add(pid)
    return False


def _relatives(family: Family) -> list[int]:
    """The task's processes, by the kernel's lists of children where it has them: a scan for each start is too dear.

    Whoever lost its parent is a child of the first process's own parent now, the keeper.
    """
    first = proc.read(family.pid)
    if first is None or first.start_time != family.start_time:
        return []
    siblings = proc.children(first.parent) if first.parent > 1 else None
    if siblings is None:
        return [process.pid for process in Scan(Markers(), family.start_time).members(family)]
    orphans = [pid for pid in siblings if pid != family.pid and _is_orphan(pid, family)]
    roots = [family.pid, *orphans]
    return [*roots, *(proc.below(roots) or ())]


def _is_orphan(pid: int, family: Family) -> bool:
    process = proc.read(pid)
    if process is None or process.start_time < family.start_time:
        return False
    return process.session == family.pid or proc.has_marker(pid, family.task_id)


def _beyond(run: Run) -> str:
    return f"went beyond its memory limit of {run.order.spec.resources.memory}"


def _without_cgroup(run: Run) -> str:
    return (
        f"its memory limit of {run.order.spec.resources.memory} is kept by looking at its processes each second; "
        "its processor use is not limited: no cgroup can be used here"
    )
