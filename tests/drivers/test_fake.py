"""The fake's scripts, tick by tick."""

from __future__ import annotations

from platformd import ids
from platformd.domain.events import Launched, TaskFact
from platformd.domain.snapshot import Exit
from platformd.domain.spec import DeploymentSpec
from platformd.drivers.base import LaunchOrder
from platformd.drivers.fake import SLOW_TO_EXIT, WAITS_FOR_PORT, FakeDriver, Script
from tests.drivers.test_contract import FakeBench


def order() -> LaunchOrder:
    return LaunchOrder(
        task_id=ids.new_id(),
        deployment_id="d",
        slot=0,
        generation=1,
        app_name="demo",
        environment="production",
        spec=DeploymentSpec(),
    )


def told(script: Script) -> tuple[FakeDriver, LaunchOrder, list[str]]:
    names: list[str] = []
    driver = FakeDriver(lambda _, fact: names.append(type(fact).__name__), script)
    it = order()
    driver.launch(it)
    return driver, it, names


def test_ready_after_ticks() -> None:
    driver, _, names = told(Script(launched_after=1, ready_after=2))
    seen = []
    for _ in range(4):
        seen.append(list(names))
        driver.tick()
    assert seen == [[], ["Launched"], ["Launched"], ["Launched", "Probed"]]


def test_a_launch_waits_once() -> None:
    driver, it, names = told(WAITS_FOR_PORT)
    driver.launch(it)
    assert names == ["LaunchWaits", "Launched", "Probed"]


def test_a_slow_exit_is_outrun_by_a_kill() -> None:
    driver, it, names = told(SLOW_TO_EXIT)
    bench = FakeBench()
    task = bench.task(it)
    driver.signal(task, "SIGTERM")
    driver.tick(4)
    assert names == ["Launched", "Probed"]
    driver.kill(task)
    assert names == ["Launched", "Probed", "Exited", "Swept"]
    driver.tick(10)
    assert names.count("Exited") == 1


def test_an_exit_cancels_what_was_still_to_come() -> None:
    driver, it, names = told(Script(ready_after=5))
    driver.exit(it.task_id, Exit(code=1))
    driver.tick(10)
    assert names == ["Launched", "Exited"]
    assert driver.alive == []


def test_facts_may_be_answered_by_orders_at_once() -> None:
    """As on the inline runtime, where the actor runs within the telling."""
    names: list[str] = []

    def sink(task_id: str, fact: TaskFact) -> None:
        names.append(type(fact).__name__)
        if isinstance(fact, Launched):
            driver.kill(task)

    driver = FakeDriver(sink)
    it = order()
    task = FakeBench().task(it)
    driver.launch(it)
    assert names == ["Launched", "Exited", "Swept"]
