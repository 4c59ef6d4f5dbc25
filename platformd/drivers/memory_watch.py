"""The memory limit of tasks that no cgroup limits: each second their processes are counted up, and ended beyond it.

Used by `limits`; the work is done in the driver's workers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from platformd.drivers import proc
from platformd.drivers.killset import Markers, Scan
from platformd.drivers.run import Run
from platformd.drivers.workers import Workers

EVERY_SECS = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a task's processes were using at the last look: bytes, and µs of processor time so far."""

    memory: int
    cpu_usec: int


class MemoryWatch:
    """`over(run, used)` is called in a worker when a task is beyond its limit."""

    def __init__(self, workers: Workers, over: Callable[[Run, int], None]) -> None:
        self._workers, self._over = workers, over
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._samples: dict[str, Sample] = {}
        self._markers = Markers()
        self._ticking = False

    def add(self, run: Run) -> None:
        """Watch this one until it ends."""
        with self._lock:
            self._runs[run.task_id] = run
            if self._ticking:
                return
            self._ticking = True
        self._workers.submit(self.look)

    def sample(self, task_id: str) -> Sample | None:
        """The last look at a watched task."""
        return self._samples.get(task_id)

    def look(self) -> None:
        """Look at all of them once, and again in a second while there are any."""
        with self._lock:
            self._runs = {task_id: run for task_id, run in self._runs.items() if run.lives}
            runs = list(self._runs.values())
            if not runs:
                self._ticking = False
                self._samples = {}
                return
        try:
            scan = Scan(self._markers, min(run.family.start_time for run in runs))
            self._samples = {run.task_id: self._weigh(run, scan) for run in runs}
        finally:
            self._workers.later(EVERY_SECS, self.look)

    def _weigh(self, run: Run, scan: Scan) -> Sample:
        processes = scan.members(run.family)
        used = sum(proc.memory(process.pid) for process in processes)
        limit = run.order.spec.resources.memory_bytes
        if used > limit:  # what processes share was counted with each of them, so look again, closely
            used = sum(proc.proportional_memory(process.pid) for process in processes)
        if used > limit and not run.over_memory:
            self._over(run, used)
        return Sample(used, sum(process.cpu_ticks for process in processes) * 1_000_000 // proc.TICKS)
