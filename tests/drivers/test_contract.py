"""The drivers' contract, kept by the native driver with and without cgroups, and by the fake."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from platformd import ids
from platformd.domain.events import Launched, TaskFact
from platformd.domain.snapshot import Exit
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task import Task, TaskPhase
from platformd.drivers.base import LaunchOrder
from platformd.drivers.fake import CANNOT_START, IGNORES_SIGNALS, NEVER_READY, READY, FakeDriver, Script
from tests.drivers.contract import DriverContract, F, snapshot
from tests.drivers.rig import NO_CGROUPS, Rig


class NativeBench:
    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.wait, self.names, self.task, self.restart = rig.wait, rig.names, rig.task, rig.restart

    @property
    def driver(self):
        return self.rig.driver

    def serving(self) -> LaunchOrder:
        return self.rig.order()

    def stubborn(self) -> LaunchOrder:
        return self.rig.order({"IGNORE_TERM": 1})

    def silent(self) -> LaunchOrder:
        return self.rig.order({"NO_LISTEN": 1})

    def crashing(self) -> LaunchOrder:
        return self.rig.order({"EXIT_MS": 20, "EXIT": 3})

    def impossible(self) -> LaunchOrder:
        return self.rig.order(executable=self.rig.data_dir / "missing")


class TestNative(DriverContract):
    @pytest.fixture(params=["cgroups", "bare"])
    def bench(self, request: pytest.FixtureRequest, make_rig: Callable[..., Rig]) -> NativeBench:
        return NativeBench(make_rig() if request.param == "cgroups" else make_rig(cgroups=NO_CGROUPS))


class FakeBench:
    def __init__(self) -> None:
        self.told: list[tuple[str, TaskFact]] = []
        self.driver = FakeDriver(lambda task_id, fact: self.told.append((task_id, fact)))

    def _order(self, script: Script) -> LaunchOrder:
        order = LaunchOrder(
            task_id=ids.new_id(),
            deployment_id=ids.new_id(),
            slot=0,
            generation=1,
            app_name="demo",
            environment="production",
            spec=DeploymentSpec(),
        )
        self.driver.scripts[order.task_id] = script
        return order

    def serving(self) -> LaunchOrder:
        return self._order(READY)

    def stubborn(self) -> LaunchOrder:
        return self._order(IGNORES_SIGNALS)

    def silent(self) -> LaunchOrder:
        return self._order(NEVER_READY)

    def crashing(self) -> LaunchOrder:
        return self._order(Script(ready_after=None, exits_after=0, exit=Exit(code=3)))

    def impossible(self) -> LaunchOrder:
        return self._order(CANNOT_START)

    def task(self, order: LaunchOrder, phase: TaskPhase = TaskPhase.RUNNING) -> Task:
        launched = [
            fact for task_id, fact in self.told if task_id == order.task_id and isinstance(fact, Launched)
        ]
        return snapshot(order, phase, launched[0] if launched else None)

    def wait(self, order: LaunchOrder, kind: type[F]) -> F:
        return next(
            fact for task_id, fact in self.told if task_id == order.task_id and isinstance(fact, kind)
        )

    def names(self, order: LaunchOrder) -> list[str]:
        return [type(fact).__name__ for task_id, fact in self.told if task_id == order.task_id]

    def restart(self) -> None:
        self.told.clear()


class TestFake(DriverContract):
    @pytest.fixture
    def bench(self) -> FakeBench:
        return FakeBench()
