"""What the engine has, compared with what is known: after a restart of either, and each reconcile period.

`compare` runs in a worker, the rest are jobs of the runs. Only what the engine says ends a task; its silence never
does.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from typing import Any

from platformd import clock
from platformd.domain.snapshot import Exit
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task import LYING, Task, TaskPhase
from platformd.drivers.base import LaunchOrder
from platformd.drivers.docker.containers import INSTANCE, TASK
from platformd.drivers.docker.ends import Ends
from platformd.drivers.docker.engine import Engine, EngineAway, EngineError
from platformd.drivers.docker.facts import Facts
from platformd.drivers.docker.freezer import Freezer
from platformd.drivers.docker.run import Line, Run, address_of, container_of
from platformd.drivers.docker.settings import DockerSettings
from platformd.drivers.docker.spares import Spares
from platformd.drivers.docker.stats import Meter
from platformd.drivers.workers import Workers
from platformd.observability import get_logger

SUSPECTED_SECS = 5.0
_log = get_logger("docker")


class Adoptions:
    def __init__(
        self,
        engine: Engine,
        workers: Workers,
        facts: Facts,
        ends: Ends,
        freezer: Freezer,
        spares: Spares,
        settings: DockerSettings,
    ) -> None:
        self._engine, self._workers, self._facts, self._ends = engine, workers, facts, ends
        self._freezer, self._spares, self._settings = freezer, spares, settings
        self._known: frozenset[str] | None = None
        self._suspected: dict[str, float] = {}
        """Running containers of no task, and since when: a start that was put off may come back to one."""

    def known(self, task_ids: Iterable[str]) -> None:
        """Recovery is over: these tasks are being taken over, all others are strays."""
        self._known = frozenset(task_ids)

    def unknown(self, task: Task, line: Line) -> Run:
        """A run for what is left to be done with a task nobody launched or adopted here."""
        order = LaunchOrder(
            task_id=task.id,
            deployment_id=task.deployment_id,
            slot=task.slot,
            generation=task.generation,
            app_name="",
            environment="",
            spec=DeploymentSpec(),
        )
        return Run(order, line, container=container_of(task.handle))

    def take_over(self, run: Run, task: Task) -> None:
        """Go on with a container that an earlier server started."""
        run.container = container_of(task.handle) or run.container
        run.address = task.address or address_of(task.handle)
        run.launched, run.ready = True, task.ready_at is not None
        run.published = run.address is not None and run.address[0].startswith("127.")
        run.started_ns = 0 if task.started_at is None else clock.boot_ns_from_steady(task.started_at)
        if run.container is None:
            self._facts.exited(run, Exit(unknown=True), lambda: None)
            return
        self._meet(run, task.phase)

    def _meet(self, run: Run, phase: TaskPhase) -> None:
        container = run.container or ""
        run.waiting = None
        try:
            details = self._engine.call(lambda client: client.inspect_container(container))
        except EngineAway:
            run.waiting = lambda: self._meet(run, phase)
            self._probe(run, phase)  # it may serve all the same
            return
        except EngineError as error:
            if error.missing:
                self._ends.conclude(run)
            else:
                run.waiting = lambda: self._meet(run, phase)
            return
        self._facts.follow(run, details)
        if (details.get("State") or {}).get("Running"):
            self._freezer.adopted(run, details, phase)
            self._probe(run, phase)
        else:
            self._ends.conclude(run)

    def _probe(self, run: Run, phase: TaskPhase) -> None:
        if phase is not TaskPhase.STOPPING and phase not in LYING:
            self._facts.watch(run)

    # ---- all of them ---------------------------------------------------------------------------------------

    def compare(self, all_runs: Callable[[], Iterable[Run]], meter: Meter) -> bool:
        """In a worker: who should run and does not, and what runs for nobody; True when both were found out. Who there
        is is asked after what there is: no container is made for a task that is not in the book."""
        found = self._listed()
        if found is None:
            return False
        states = {one["Id"]: str(one.get("State", "")) for one in found}
        runs = list(all_runs())
        for run in runs:
            if run.waiting is not None:
                run.line.add(run.waiting)
            elif run.lives and not run.ending:
                if states.get(run.container or "") not in ("running", "paused"):
                    run.line.add(partial(self._ends.conclude, run))
                elif run.group is None:
                    self._sample(run, meter)
        if self._known is None:
            return False
        self._end_strays(found, {run.task_id for run in runs} | self._known)
        return True

    def _listed(self) -> list[Mapping[str, Any]] | None:
        label = f"{INSTANCE}={self._settings.instance}"
        try:
            return list(
                self._engine.call(lambda client: client.containers(all=True, filters={"label": label}))
            )
        except (EngineAway, EngineError):
            return None

    def _end_strays(self, found: Iterable[Mapping[str, Any]], known: Container[object]) -> None:
        now, before, self._suspected = clock.monotonic(), self._suspected, {}
        for one in found:
            task_id, container = (one.get("Labels") or {}).get(TASK), one["Id"]
            if task_id in known or self._spares.knows(one):
                continue
            since = before.get(container, now)
            if one.get("State") == "running" and now - since < SUSPECTED_SECS:
                self._suspected[container] = since
                continue
            _log.warning(
                "a container that belongs to no task is removed", container=container[:12], task_id=task_id
            )
            self._ends.remove(container)

    def _sample(self, run: Run, meter: Meter) -> None:
        container = run.container or ""

        def sample() -> None:
            try:
                stats = self._engine.call(lambda client: client.stats(container, stream=False, one_shot=True))
            except (EngineAway, EngineError):
                return
            meter.sampled(run, stats)

        self._workers.submit(sample)
