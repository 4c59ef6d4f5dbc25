"""What tasks use: counters of their cgroup, else the memory watch's last look.

Called through the native driver's `usage`, by one thread at a time; some 50 µs a task.
"""

from __future__ import annotations

from collections.abc import Iterable

from platformd import clock
from platformd.drivers.base import Usage
from platformd.drivers.memory_watch import MemoryWatch, Sample
from platformd.drivers.run import Run


class Meter:
    """Remembers the processor time of the last asking, so that a percentage can be given."""

    def __init__(self, watch: MemoryWatch) -> None:
        self._watch = watch
        self._before: dict[str, tuple[float, int]] = {}

    def usage(self, runs: Iterable[Run]) -> dict[str, Usage]:
        """Those that can be measured now; the first asking of a task averages over its life so far."""
        found, remembered = {}, {}
        for run in runs:
            sample = self._sample(run)
            if sample is None:
                continue
            at = clock.boot_ns() / 1e9
            since, used = self._before.get(run.task_id, (run.started_ns / 1e9, 0))
            remembered[run.task_id] = at, sample.cpu_usec
            percent = max(0, sample.cpu_usec - used) / 1e4 / max(at - since, 0.001)
            found[run.task_id] = Usage(cpu_percent=round(percent, 2), memory_bytes=sample.memory)
        self._before.update(remembered)
        return found

    def forget(self, task_id: str) -> None:
        self._before.pop(task_id, None)

    def _sample(self, run: Run) -> Sample | None:
        group = run.family.group
        if group is None:
            return self._watch.sample(run.task_id)
        cpu, memory = group.cpu_usec(), group.memory()
        if cpu is not None and memory is not None:
            return Sample(memory, cpu)
        watched = self._watch.sample(run.task_id)
        if watched is None:
            return None
        return Sample(watched.memory if memory is None else memory, watched.cpu_usec if cpu is None else cpu)
