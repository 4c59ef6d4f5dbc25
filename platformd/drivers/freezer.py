"""Native tasks that stand still: by their cgroup's freezer where that holds all of them, else by SIGSTOP to each.

Used by the native driver. `thaw` is on the way of a wake and works in the caller's thread: one write, or a signal to
each process that was stopped, under the identity rules of `proc.send`. Freezing takes its time in a worker. The two
meet without a lock: a freeze notes what it did and then looks whether that is still wanted, a thaw the other way round.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import structlog

from platformd.domain.events import FreezeFailed, Frozen, HealthLost, Thawed
from platformd.domain.snapshot import Reason
from platformd.domain.task import LYING, TaskPhase
from platformd.drivers import killset, proc
from platformd.drivers.base import Sink
from platformd.drivers.run import Run
from platformd.drivers.workers import Workers

_LOOKS, _PAUSE = 400, 0.005
FAILED = Reason(
    code="FREEZE_FAILED", message="its processes could not be made to stand still; it is stopped instead"
)
STUCK = Reason(code="THAW_FAILED", message="its processes could not be made to go on; replaced")
BY_SIGNAL = "frozen by SIGSTOP to each of its processes, since no cgroup of its own can freeze it"

log = structlog.get_logger(__name__)


class Freezer:
    """`watch(run)` probes it again, `say(run, text)` writes a system line."""

    def __init__(
        self, workers: Workers, sink: Sink, watch: Callable[[Run], None], say: Callable[[Run, str], None]
    ) -> None:
        self._workers, self._sink, self._watch, self._say = workers, sink, watch, say

    def freeze(self, run: Run) -> None:
        """Any thread; the rest in a worker."""
        run.still = True
        self._workers.submit(lambda: self._freeze(run))

    def thaw(self, run: Run) -> None:
        """Any thread. It is probed again as soon as the loop has time."""
        self.rouse(run)
        self._workers.on_loop(lambda: self._watch_again(run))

    def rouse(self, run: Run) -> None:
        """Let it go on, for whatever end."""
        run.still = False
        try:
            if run.frozen_group is not None:
                run.frozen_group.thaw()
                run.frozen_group = None
        except OSError as error:
            log.warning("a cgroup cannot be thawed", task_id=run.task_id, error=str(error))
            if run.lives:
                self._sink(run.task_id, HealthLost(STUCK))
        stopped, run.stopped = run.stopped, ()
        for pid, start_time in stopped:
            proc.send(pid, start_time, signal.SIGCONT)

    def adopted(self, run: Run, phase: TaskPhase) -> None:
        """In a worker: after a restart, what stands still as it shall goes on doing so; all else runs."""
        if not run.lives:
            return
        group = run.family.group
        by_group = group is not None and group.freezes and group.frozen()
        first = proc.read(run.family.pid)
        if by_group or (first is not None and first.stopped):
            run.frozen_group = group if by_group else None
            found = killset.find(run.family)
            run.stopped = tuple((process.pid, process.start_time) for process in found if process.stopped)
            self._freeze(run)  # to the end, should it have been begun only
        elif run.still and phase in LYING:
            run.still = False
            self._sink(run.task_id, Thawed())
            self._workers.on_loop(lambda: self._watch_again(run))

    def look(self, run: Run) -> None:
        """In a worker, each reconcile period: version 1's freezer holds back even a SIGKILL from outside."""
        if run.frozen_group is not None and proc.is_killed(run.family.pid):
            self.rouse(run)

    # ---- in a worker ---------------------------------------------------------------------------------------

    def _freeze(self, run: Run) -> None:
        group = run.family.group
        if group is not None and group.freezes and (run.family.complete or run.frozen_group is group):
            self._by_group(run)
        else:
            self._by_signals(run, _LOOKS)

    def _by_group(self, run: Run) -> None:
        group = run.family.group
        assert group is not None
        run.frozen_group = group
        try:
            if run.still:
                group.freeze()
                run.frozen_group = group  # a thaw may have come before the freeze
        except OSError as error:
            log.warning("a cgroup cannot be frozen", task_id=run.task_id, error=str(error))
            run.frozen_group = None
            self._by_signals(run, _LOOKS)
            return
        self._wait(run, _LOOKS)

    def _wait(self, run: Run, looks: int) -> None:
        group = run.frozen_group
        if group is None or not run.still or group.frozen():
            self._done(run)
        elif looks:
            self._workers.later(_PAUSE, lambda: self._wait(run, looks - 1))
        else:
            self._failed(run)

    def _by_signals(self, run: Run, looks: int, told: frozenset[tuple[int, int]] = frozenset()) -> None:
        """In rounds until a look finds nothing that runs; the first process first, so that it tells of a freeze."""
        if not run.still or not run.lives:
            self._done(run)
            return
        found = sorted(killset.find(run.family), key=lambda process: not run.family.is_first(process))
        for process in found:
            if not process.stopped and (process.pid, process.start_time) not in told:
                proc.send(process.pid, process.start_time, signal.SIGSTOP)
        run.stopped = tuple((process.pid, process.start_time) for process in found)
        if all(process.stopped for process in found):
            self._said_once(run)
            self._done(run)
        elif looks:
            self._workers.later(_PAUSE, lambda: self._by_signals(run, looks - 1, frozenset(run.stopped)))
        else:
            self._failed(run)

    def _said_once(self, run: Run) -> None:
        if not run.told_how:
            run.told_how = True
            self._say(run, BY_SIGNAL)

    def _done(self, run: Run) -> None:
        """Unless it is wanted again by now: then nobody waits to hear of it."""
        if not run.still:
            self.rouse(run)
        elif run.lives:
            self._sink(run.task_id, Frozen())

    def _failed(self, run: Run) -> None:
        self.rouse(run)
        if run.lives:
            self._sink(run.task_id, FreezeFailed(FAILED))

    def _watch_again(self, run: Run) -> None:
        if run.lives and not run.still:
            self._watch(run)
