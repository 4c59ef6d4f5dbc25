"""What tasks use: counters of their cgroup, else the memory watch's last look.

Called through the native driver's `usage`, on any thread; some 50 µs a task.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from platformd import clock
from platformd.drivers import proc
from platformd.drivers.base import Usage
from platformd.drivers.memory_watch import MemoryWatch, Sample
from platformd.drivers.run import Run

SHORTEST_SECS = 1.0
"""Asked again sooner, the last answer is given again: a shorter time would say nothing of the processor."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """`at` in seconds of CLOCK_BOOTTIME."""

    at: float
    cpu_usec: int
    usage: Usage


class Meter:
    """Remembers the last measurement of each task: a percentage needs two, some time apart."""

    def __init__(self, watch: MemoryWatch) -> None:
        self._watch = watch
        self._last: dict[str, _Measured] = {}
        self._turn = threading.Lock()

    def usage(self, runs: Iterable[Run]) -> dict[str, Usage]:
        """Those that can be measured; the first measurement of a task averages over its life so far."""
        found = {}
        for run in runs:
            with self._turn:
                measured = self._measure(run, clock.boot_ns() / 1e9)
                if measured is not None:
                    self._last[run.task_id] = measured
                    found[run.task_id] = measured.usage
        return found

    def forget(self, task_id: str) -> None:
        with self._turn:
            self._last.pop(task_id, None)

    def _measure(self, run: Run, at: float) -> _Measured | None:
        last = self._last.get(run.task_id)
        if last is not None and at - last.at < SHORTEST_SECS:
            return last
        sample = self._sample(run)
        if sample is None:
            return None
        since, used = (last.at, last.cpu_usec) if last is not None else (run.started_ns / 1e9, 0)
        percent = max(0, sample.cpu_usec - used) / 1e4 / max(at - since, 0.001)
        usage = Usage(cpu_percent=round(percent, 2), memory_bytes=sample.memory, cpu_usec=sample.cpu_usec)
        return _Measured(at, sample.cpu_usec, usage)

    def _sample(self, run: Run) -> Sample | None:
        group = run.family.group
        if group is None:
            return self._watch.sample(run.task_id)
        cpu, memory = group.cpu_usec(), group.memory()
        if memory is not None:  # what it had before it came into the group is not counted there
            memory = max(memory, proc.memory(run.family.pid))
        if cpu is not None and memory is not None:
            return Sample(memory, cpu)
        watched = self._watch.sample(run.task_id)
        if watched is None:
            return None
        return Sample(watched.memory if memory is None else memory, watched.cpu_usec if cpu is None else cpu)
