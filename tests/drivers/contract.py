"""What every driver must do, asked of each in the same words.

A driver joins by a subclass named `Test…` with a fixture `bench`, which starts things of the driver's kind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar

from platformd import clock
from platformd.domain.events import Exited, Frozen, Launched, LaunchFailed, Probed, Swept, TaskFact, Thawed
from platformd.domain.task import Task, TaskPhase
from platformd.drivers.base import Driver, LaunchOrder
from tests.support import eventually

F = TypeVar("F", bound=TaskFact)


def snapshot(order: LaunchOrder, phase: TaskPhase, launched: Launched | None) -> Task:
    """What the task's actor would have of it."""
    now = clock.now()
    task = Task(
        id=order.task_id,
        deployment_id=order.deployment_id,
        app_id="app",
        slot=0,
        generation=1,
        phase=phase,
        created_at=now,
        updated_at=now,
        ready_at=now if phase is TaskPhase.RUNNING else None,
    )
    if launched is None:
        return task
    return replace(
        task,
        handle=dict(launched.handle),
        pid=launched.pid,
        container_id=launched.container_id,
        address=launched.address,
    )


class Bench(Protocol):
    """A driver and ways to order things that behave in a known manner."""

    @property
    def driver(self) -> Driver: ...

    def serving(self) -> LaunchOrder:
        """Becomes ready and ends with SIGTERM."""

    def stubborn(self) -> LaunchOrder:
        """Becomes ready and ignores SIGTERM."""

    def silent(self) -> LaunchOrder:
        """Lives and never becomes ready."""

    def crashing(self) -> LaunchOrder:
        """Exits with 3 before it is ready."""

    def impossible(self) -> LaunchOrder:
        """Cannot be started."""

    def task(self, order: LaunchOrder, phase: TaskPhase = TaskPhase.RUNNING) -> Task:
        """Its snapshot as far as the facts go."""

    def wait(self, order: LaunchOrder, kind: type[F]) -> F:
        """The first such fact, told or to come."""

    def names(self, order: LaunchOrder) -> list[str]:
        """The facts told so far."""

    def restart(self) -> None:
        """The serving process ends without a word and another begins; facts told before are forgotten."""


class DriverContract:
    def started(self, bench: Bench, order: LaunchOrder) -> Task:
        bench.driver.launch(order)
        bench.wait(order, Probed)
        return bench.task(order)

    def test_it_is_launched_before_it_is_ready(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        launched = bench.wait(order, Launched)
        assert bench.names(order) == ["Launched", "Probed"]
        assert launched.handle
        assert bench.wait(order, Probed).address == launched.address
        bench.driver.kill(task)

    def test_a_second_launch_starts_no_second_task(self, bench: Bench) -> None:
        order = bench.serving()
        self.started(bench, order)
        bench.driver.launch(order)
        other = bench.serving()
        self.started(bench, other)
        assert {bench.names(order).count(name) for name in ("Launched", "Probed")} <= {1, 2}
        assert bench.wait(order, Launched).address != bench.wait(other, Launched).address

    def test_a_signal_ends_it_and_a_sweep_finishes_it(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        bench.driver.signal(task, "SIGTERM")
        exit = bench.wait(order, Exited).exit
        assert not exit.unknown
        bench.driver.sweep(task)
        bench.wait(order, Swept)
        assert bench.names(order) == ["Launched", "Probed", "Exited", "Swept"]

    def test_a_kill_ends_what_ignores_signals(self, bench: Bench) -> None:
        order = bench.stubborn()
        task = self.started(bench, order)
        bench.driver.signal(task, "SIGTERM")
        bench.driver.kill(task)
        assert bench.wait(order, Exited).exit.signal == "SIGKILL"
        bench.wait(order, Swept)
        names = bench.names(order)
        assert names.index("Exited") < names.index("Swept")
        assert names.count("Exited") == 1

    def test_a_crash_is_told_with_its_code(self, bench: Bench) -> None:
        order = bench.crashing()
        bench.driver.launch(order)
        exit = bench.wait(order, Exited).exit
        assert (exit.code, exit.signal, exit.oom_killed) == (3, None, False)
        assert bench.names(order) == ["Launched", "Exited"]

    def test_what_never_answers_is_never_ready(self, bench: Bench) -> None:
        order = bench.silent()
        bench.driver.launch(order)
        bench.wait(order, Launched)
        self.started(bench, bench.serving())
        assert bench.names(order) == ["Launched"]
        bench.driver.kill(bench.task(order, TaskPhase.STARTING))
        bench.wait(order, Swept)

    def test_what_cannot_start_fails_and_leaves_nothing(self, bench: Bench) -> None:
        order = bench.impossible()
        bench.driver.launch(order)
        reason = bench.wait(order, LaunchFailed).reason
        assert reason.code == reason.code.upper()
        assert reason.message
        assert bench.names(order) == ["LaunchFailed"]

    def test_what_runs_is_adopted_in_silence(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        bench.restart()
        bench.driver.adopt(task, order)
        bench.driver.signal(task, "SIGTERM")
        assert not bench.wait(order, Exited).exit.unknown
        assert bench.names(order) == ["Exited"]

    def test_a_frozen_one_stands_still_until_it_is_thawed(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        bench.driver.freeze(task)
        bench.wait(order, Frozen)
        bench.driver.thaw(task)
        bench.driver.signal(task, "SIGTERM")
        assert not bench.wait(order, Exited).exit.unknown
        assert bench.names(order) == ["Launched", "Probed", "Frozen", "Exited"]

    def test_a_frozen_one_dies_of_a_kill(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        bench.driver.freeze(task)
        bench.wait(order, Frozen)
        bench.driver.kill(task)
        assert bench.wait(order, Exited).exit.signal == "SIGKILL"
        bench.wait(order, Swept)

    def test_a_frozen_one_is_adopted_frozen_and_can_be_thawed(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        bench.driver.freeze(task)
        bench.wait(order, Frozen)
        bench.restart()
        bench.driver.adopt(replace(task, phase=TaskPhase.FROZEN), order)
        bench.wait(order, Frozen)
        bench.driver.thaw(task)
        bench.driver.signal(task, "SIGTERM")
        assert not bench.wait(order, Exited).exit.unknown

    def test_what_is_believed_frozen_and_runs_says_so(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        bench.restart()
        bench.driver.adopt(replace(task, phase=TaskPhase.FROZEN), order)
        bench.wait(order, Thawed)
        bench.driver.kill(task)
        bench.wait(order, Exited)

    def test_what_is_believed_running_and_stands_still_goes_on(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        bench.driver.freeze(task)
        bench.wait(order, Frozen)
        bench.restart()
        bench.driver.adopt(task, order)
        bench.driver.signal(task, "SIGTERM")
        assert not bench.wait(order, Exited).exit.unknown

    def test_a_thaw_in_the_middle_of_a_freeze_wins(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        for _ in range(20):
            bench.driver.freeze(task)
            bench.driver.thaw(task)
        bench.driver.signal(task, "SIGTERM")
        assert not bench.wait(order, Exited).exit.unknown

    def test_what_is_gone_exited_unknown_and_can_be_swept(self, bench: Bench) -> None:
        order = bench.serving()
        task = bench.task(order)
        bench.driver.adopt(task, order)
        assert bench.wait(order, Exited).exit.unknown
        bench.driver.sweep(task)
        bench.wait(order, Swept)

    def test_usage_is_of_the_living(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        eventually(lambda: bench.driver.usage([order.task_id])[order.task_id].memory_bytes > 0)
        bench.driver.kill(task)
        bench.wait(order, Exited)
        assert bench.driver.usage([order.task_id, "nobody"]) == {}

    def test_a_forgotten_task_can_be_forgotten_twice(self, bench: Bench) -> None:
        order = bench.serving()
        task = self.started(bench, order)
        bench.driver.kill(task)
        bench.wait(order, Swept)
        bench.driver.forget(task)
        bench.driver.forget(task)
        assert bench.driver.usage([order.task_id]) == {}
