"""Containers made beforehand: there when a task ends while its deployment sleeps, used by the next start, gone when
nobody wants them, and never relied upon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from platformd.domain.events import ImageFound, Probed, Swept
from platformd.drivers.base import LaunchOrder
from tests.docker.engine import DockerEngine
from tests.docker.rig import DockerRig
from tests.support import eventually

pytestmark = pytest.mark.needs("engine")


@pytest.fixture
def rig(engine: DockerEngine, no_leaks: None) -> Iterator[DockerRig]:
    rig = DockerRig(engine)
    yield rig
    rig.close()


def put_to_sleep(rig: DockerRig, order: LaunchOrder) -> LaunchOrder:
    """Stopped while its deployment sleeps; the next start's order but for its task."""
    found = rig.facts(order, ImageFound)
    rig.asleep = replace(order, image_digest=found[0].digest if found else order.image_digest)
    rig.driver.kill(rig.task(order))
    rig.wait(order, Swept)
    rig.driver.forget(rig.task(order))
    return rig.asleep


def waiting(rig: DockerRig) -> dict[str, str]:
    """The containers that were never started: id → the task they were made for."""
    return {
        one["Id"]: one["Labels"]["platformd.task"] for one in rig.containers() if one["State"] == "created"
    }


def woken(rig: DockerRig, order: LaunchOrder) -> LaunchOrder:
    """Started by the id that is given out once what is waiting is known."""
    [task_id] = eventually(lambda: set(waiting(rig).values()))
    eventually(lambda: rig.driver.next_id(order.deployment_id, order.slot) == task_id)
    rig.asleep = None
    order = replace(order, task_id=task_id)
    rig.driver.launch(order)
    rig.wait(order, Probed)
    return order


def test_the_next_start_uses_what_was_made_when_it_fell_asleep(rig: DockerRig) -> None:
    order = put_to_sleep(rig, rig.running())
    [made] = eventually(lambda: waiting(rig))
    first = woken(rig, order)
    assert rig.handles[first.task_id].container_id == made
    config = rig.inspect(first)["Config"]
    assert f"TASK_ID={first.task_id}" in config["Env"]
    assert config["Labels"]["platformd.task"] == first.task_id
    second = put_to_sleep(rig, first)
    eventually(lambda: len(waiting(rig)) == 1)
    again = woken(rig, second)
    assert rig.handles[again.task_id].container_id != made


def test_after_a_restart_the_next_start_uses_it(rig: DockerRig) -> None:
    order = put_to_sleep(rig, rig.running())
    [made] = eventually(lambda: waiting(rig))
    rig.restart()
    rig.driver.end_strays([])
    order = woken(rig, order)
    assert rig.handles[order.task_id].container_id == made


def test_one_that_nobody_wants_any_more_is_removed(rig: DockerRig) -> None:
    put_to_sleep(rig, rig.running())
    eventually(lambda: waiting(rig))
    rig.driver.end_strays([])
    rig.asleep = None
    rig.driver.reconcile()
    eventually(lambda: not rig.containers())


def test_another_specification_is_made_anew(rig: DockerRig) -> None:
    order = put_to_sleep(rig, rig.running())
    [made] = eventually(lambda: waiting(rig))
    changed = woken(rig, replace(order, env={"COLOUR": "red"}))
    assert "COLOUR=red" in rig.inspect(changed)["Config"]["Env"]
    assert made not in [one["Id"] for one in rig.containers()]


def test_one_that_somebody_removed_is_made_anew(rig: DockerRig, engine: DockerEngine) -> None:
    order = put_to_sleep(rig, rig.running())
    [(made, task_id)] = eventually(lambda: waiting(rig)).items()
    eventually(lambda: rig.driver.next_id(order.deployment_id, order.slot) == task_id)
    with engine.client() as client:
        client.remove_container(made)
    order = replace(order, task_id=task_id)
    rig.driver.launch(order)
    rig.wait(order, Probed)
    assert rig.handles[task_id].container_id != made
