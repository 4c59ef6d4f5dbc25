"""Containers that stand still: by their own cgroup's freezer where that is reachable, else by the engine's pause.

`thaw` is on the way of a wake: with the freezer it is one write in the caller's thread. The two meet without a lock: a
freeze notes what it did and then looks whether that is still wanted, a thaw the other way round. The rest are jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platformd.domain.events import FreezeFailed, Frozen, HealthLost, Thawed
from platformd.domain.snapshot import Reason
from platformd.domain.task import LYING, TaskPhase
from platformd.drivers.docker.engine import Engine, EngineAway, EngineError
from platformd.drivers.docker.facts import Facts
from platformd.drivers.docker.run import Run
from platformd.drivers.workers import Workers
from platformd.observability import get_logger

_LOOKS, _PAUSE = 400, 0.005
FAILED = Reason(
    code="FREEZE_FAILED", message="its container could not be made to stand still; it is stopped instead"
)
STUCK = Reason(code="THAW_FAILED", message="its container could not be made to go on; replaced")
_log = get_logger("docker")


class Freezer:
    def __init__(self, engine: Engine, workers: Workers, facts: Facts) -> None:
        self._engine, self._workers, self._facts = engine, workers, facts

    def freeze(self, run: Run) -> None:
        """Any thread."""
        run.still = True
        run.line.add(lambda: self._freeze(run))

    def thaw(self, run: Run) -> None:
        """Any thread. It is probed again as soon as the loop has time."""
        self.rouse(run)
        self._facts.watch(run)

    def rouse(self, run: Run) -> None:
        """Let it go on, for whatever end."""
        run.still = False
        group, run.frozen_group = run.frozen_group, None
        if group is not None:
            try:
                group.thaw()
            except OSError as error:
                _log.warning("a container cannot be thawed", task_id=run.task_id, error=str(error))
                self._facts.tell(run, HealthLost(STUCK))
        if run.paused:
            run.line.add(lambda: self._unpause(run))

    def adopted(self, run: Run, details: Mapping[str, Any], phase: TaskPhase) -> None:
        """After a restart, what stands still as it shall goes on doing so; all else runs."""
        group = run.group if run.group is not None and run.group.freezes else None
        run.paused = bool((details.get("State") or {}).get("Paused"))
        run.frozen_group = group if group is not None and not run.paused and group.frozen() else None
        if not run.paused and run.frozen_group is None:
            if phase in LYING:
                self._facts.tell(run, Thawed())
                self._facts.watch(run)
        elif phase in LYING:
            run.still = True
            self._facts.tell(run, Frozen())
        else:
            self.rouse(run)

    # ---- jobs ----------------------------------------------------------------------------------------------

    def _freeze(self, run: Run) -> None:
        if not run.still or not run.lives or run.container is None:
            return
        group = run.group
        if group is None or not group.freezes:
            self._pause(run)
            return
        try:
            group.freeze()
            run.frozen_group = group
        except OSError as error:
            _log.warning("a container's cgroup cannot be frozen", task_id=run.task_id, error=str(error))
            self._pause(run)
            return
        self._wait(run, _LOOKS)

    def _wait(self, run: Run, looks: int) -> None:
        group = run.frozen_group
        if not run.still:
            self.rouse(run)
        elif group is None or group.frozen():
            self._facts.tell(run, Frozen())
        elif looks:
            self._workers.later(_PAUSE, lambda: run.line.add(lambda: self._wait(run, looks - 1)))
        else:
            self._failed(run)

    def _pause(self, run: Run) -> None:
        container = run.container or ""
        try:
            self._engine.call(lambda client: client.pause(container))
        except EngineError as error:
            if "already paused" not in error.message:
                self._failed(run)
                return
        except EngineAway:
            self._failed(run)
            return
        run.paused = True
        if run.still:
            self._facts.tell(run, Frozen())
        else:
            self._unpause(run)

    def _unpause(self, run: Run) -> None:
        if not run.paused or run.container is None or run.still:
            return
        container = run.container
        try:
            self._engine.call(lambda client: client.unpause(container))
        except EngineAway:
            self._workers.later(1.0, lambda: run.line.add(lambda: self._unpause(run)))
            return
        except EngineError as error:
            if error.transient and "not paused" not in error.message:
                self._facts.tell(run, HealthLost(STUCK))
        run.paused = False

    def _failed(self, run: Run) -> None:
        self.rouse(run)
        self._facts.tell(run, FreezeFailed(FAILED))
