"""What containers use: read from their cgroups where they can be reached, else from the engine's last sample.

`usage` is called on any thread and reads some small files at most; samples are taken by the driver's workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from platformd import clock
from platformd.drivers import cgroup_places
from platformd.drivers.base import Usage
from platformd.drivers.cgroup import Group
from platformd.drivers.docker.run import Run

SHORTEST_SECS = 1.0


class Meter:
    """Remembers the last measurement of each task: a percentage needs two, some time apart."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int, Usage]] = {}
        self._sampled: dict[str, tuple[int, int]] = {}

    def usage(self, runs: Iterable[Run]) -> dict[str, Usage]:
        found = {}
        for run in runs:
            used = self._measure(run)
            if used is not None:
                found[run.task_id] = used
        return found

    def sampled(self, run: Run, stats: Mapping[str, Any]) -> None:
        """The engine's `stats` of a container whose cgroups are out of reach."""
        cpu = stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage")
        memory = stats.get("memory_stats", {}).get("usage")
        if isinstance(cpu, int) and isinstance(memory, int):
            self._sampled[run.task_id] = (cpu // 1000, memory)

    def forget(self, task_id: str) -> None:
        self._last.pop(task_id, None)
        self._sampled.pop(task_id, None)

    def _measure(self, run: Run) -> Usage | None:
        at = clock.boot_ns() / 1e9
        last = self._last.get(run.task_id)
        if last is not None and at - last[0] < SHORTEST_SECS:
            return last[2]
        now = _of_group(run.group) if run.group is not None else self._sampled.get(run.task_id)
        if now is None:
            return None
        cpu, memory = now
        since, used = (last[0], last[1]) if last is not None else (run.started_ns / 1e9, 0)
        percent = max(0, cpu - used) / 1e4 / max(at - since, 0.001)
        usage = Usage(cpu_percent=round(percent, 2), memory_bytes=memory, cpu_usec=cpu)
        self._last[run.task_id] = (at, cpu, usage)
        return usage


def _of_group(group: Group) -> tuple[int, int] | None:
    cpu, memory = group.cpu_usec(), group.memory()
    return None if cpu is None or memory is None else (cpu, memory)


def group_of(pid: int, container: str) -> Group | None:
    """The cgroups of the container whose first process the engine calls `pid`, if that is a process here."""
    return cgroup_places.holding(pid, container) if pid > 0 else None
