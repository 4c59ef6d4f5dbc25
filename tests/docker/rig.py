"""A Docker driver over a real engine, its loop in a thread of its own; the test's thread plays the actors."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from platformd import ids
from platformd.domain.events import Launched, Probed, TaskFact
from platformd.domain.spec import DeploymentSpec, Networking, ProcessType, Resources
from platformd.domain.task import Task, TaskPhase
from platformd.drivers.base import LaunchOrder
from platformd.drivers.docker import DockerDriver, DockerSettings
from platformd.drivers.docker.containers import INSTANCE
from platformd.drivers.docker.logs import Batch
from tests.docker.conftest import APP
from tests.docker.engine import DockerEngine
from tests.drivers.contract import snapshot
from tests.drivers.rig import Loop
from tests.support import eventually

F = TypeVar("F", bound=TaskFact)


class DockerRig:
    """Facts, lines and events of all lives; `close` leaves nothing behind."""

    def __init__(self, engine: DockerEngine, address: str | None = None, **settings: Any) -> None:
        self.engine = engine
        self.data_dir = Path(tempfile.mkdtemp(prefix="platformd-"))
        self.instance = ids.new_id()
        self.settings = DockerSettings(
            data_dir=self.data_dir, instance=self.instance, address=address or engine.address, **settings
        )
        self.told: list[tuple[float, str, TaskFact]] = []
        self.lines: list[tuple[str, str, str]] = []
        self.said: list[tuple[str, Mapping[str, object]]] = []
        self.troubles: list[str | None] = []
        self.keeper_is_there = True
        self.asleep: LaunchOrder | None = None
        """What starts next, for its deployment."""
        self._begin()

    def _begin(self) -> None:
        self.loop = Loop()
        self.driver = self.loop.call(
            lambda: DockerDriver(
                loop=self.loop.loop,
                sink=self.on_fact,
                settings=self.settings,
                deliver=self.store,
                tell=lambda _, text, about: self.said.append((text, about)),
                on_engine=self.troubles.append,
                next_order=self.next_order,
            )
        )

    def next_order(self, deployment_id: str, slot: int, task_id: str) -> LaunchOrder | None:
        order = self.asleep
        if order is None or (order.deployment_id, order.slot) != (deployment_id, slot):
            return None
        return replace(order, task_id=task_id)

    def on_fact(self, task_id: str, fact: TaskFact) -> None:
        self.told.append((time.monotonic(), task_id, fact))

    def store(self, deployment: str, task: str, batch: Batch) -> None:
        """What the keeper does with output: lines and cursor in one go."""
        if not self.keeper_is_there:
            raise OSError("no keeper")
        folder = self.data_dir / "logs" / deployment / task
        folder.mkdir(parents=True, exist_ok=True)
        self.lines.extend((task, batch.stream, line) for line in batch.lines)
        (folder / "cursor").write_text(batch.cursor)

    def output(self, order: LaunchOrder, stream: str = "stdout") -> list[str]:
        return [line for task, which, line in self.lines if (task, which) == (order.task_id, stream)]

    # ---- orders --------------------------------------------------------------------------------------------

    def order(self, env: dict[str, object] | None = None, image: str = APP, **spec: Any) -> LaunchOrder:
        networking = Networking(**spec.pop("net", {}))
        resources = Resources(**{"memory": "64Mi", **spec.pop("res", {})})
        variables = {name: str(value) for name, value in (env or {}).items()}
        return LaunchOrder(
            task_id=ids.new_id(),
            deployment_id=ids.new_id(),
            slot=0,
            generation=1,
            app_name="demo",
            environment="production",
            app_id="app",
            env=variables,
            spec=DeploymentSpec(
                process_type=ProcessType.DOCKER,
                image=image,
                networking=networking,
                resources=resources,
                env=variables,
                **spec,
            ),
        )

    def running(self, env: dict[str, object] | None = None, **spec: Any) -> LaunchOrder:
        """Launched and ready."""
        order = self.order(env, **spec)
        self.driver.launch(order)
        self.wait(order, Probed)
        return order

    def task(self, order: LaunchOrder, phase: TaskPhase = TaskPhase.RUNNING) -> Task:
        """The snapshot its actor would have."""
        return snapshot(order, phase, self.handles.get(order.task_id))

    @property
    def handles(self) -> dict[str, Launched]:
        return {task_id: fact for _, task_id, fact in self._all_told() if isinstance(fact, Launched)}

    def _all_told(self) -> list[tuple[float, str, TaskFact]]:
        return [*self._before, *self.told]

    _before: list[tuple[float, str, TaskFact]] = []

    # ---- what was told -------------------------------------------------------------------------------------

    def facts(self, order: LaunchOrder, kind: type[F]) -> list[F]:
        return [fact for _, task_id, fact in self.told if task_id == order.task_id and isinstance(fact, kind)]

    def names(self, order: LaunchOrder) -> list[str]:
        """Without what is said of its image."""
        found = [type(fact).__name__ for _, task_id, fact in self.told if task_id == order.task_id]
        return [name for name in found if not name.startswith("Image")]

    def wait(self, order: LaunchOrder, kind: type[F], timeout: float = 20.0) -> F:
        """The first fact of this kind about the task, told or to come."""
        try:
            return eventually(lambda: self.facts(order, kind), timeout, every=0.002)[0]
        except AssertionError:
            told = [(type(fact).__name__, fact) for _, _, fact in self.told[-8:]]
            raise AssertionError(
                f"no {kind.__name__} in {timeout} s; told: {told}; {self.troubles}"
            ) from None

    def at(self, order: LaunchOrder, kind: type[TaskFact]) -> float:
        return next(at for at, task, fact in self.told if task == order.task_id and isinstance(fact, kind))

    def containers(self) -> list[dict[str, Any]]:
        """All there are of this rig's, by the engine's own list."""
        with self.engine.client() as client:
            label = f"{INSTANCE}={self.instance}"
            return list(client.containers(all=True, filters={"label": label}))

    def inspect(self, order: LaunchOrder) -> dict[str, Any]:
        container = self.handles[order.task_id].container_id
        with self.engine.client() as client:
            return dict(client.inspect_container(container))

    # ---- lives ---------------------------------------------------------------------------------------------

    def restart(self, before_start: Callable[[], None] = lambda: None) -> None:
        """kill -9 of the serving process, then another one."""
        self.die()
        self._before = self._all_told()
        self.told.clear()
        before_start()
        self._begin()

    def die(self) -> None:
        self.loop.call(self.driver.close)
        self.loop.stop()

    def close(self) -> None:
        self.die()
        with self.engine.client() as client:
            for one in self.containers():
                client.remove_container(one["Id"], v=True, force=True)
        shutil.rmtree(self.data_dir, ignore_errors=True)
