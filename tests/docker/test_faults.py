"""An engine that lies, stumbles and breaks off: what it does to one request changes nothing about what is true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from platformd.domain.events import Exited, Frozen, LaunchFailed, LaunchWaits, Probed, Swept
from platformd.drivers.base import LaunchOrder
from tests.docker.engine import DockerEngine
from tests.docker.proxy import Proxy, unix_proxy
from tests.docker.rig import DockerRig
from tests.support import eventually

pytestmark = pytest.mark.needs("engine")

CREATE, START = r"POST .*/containers/create", r"POST .*/containers/\w+/start"
INSPECT, IMAGE = r"GET .*/containers/\w+/json", r"GET .*/images/.*/json"
KILL, REMOVE = r"POST .*/containers/\w+/kill", r"DELETE .*/containers/\w+"
LOGS = r"GET .*/containers/\w+/logs"


@dataclass
class Scene:
    rig: DockerRig
    proxy: Proxy

    def ready(self, order: LaunchOrder) -> None:
        """Launched as its actor would: again each time it is told to wait."""
        self.rig.driver.launch(order)
        waits = 0

        def is_ready() -> bool:
            nonlocal waits
            told = len(self.rig.facts(order, LaunchWaits))
            if told > waits:
                waits = told
                self.rig.driver.launch(order)
            return bool(self.rig.facts(order, Probed))

        eventually(is_ready, 30, every=0.1)

    def ended(self, order: LaunchOrder) -> int | None:
        task = self.rig.task(order)
        self.rig.driver.signal(task, "SIGTERM")
        exit = self.rig.wait(order, Exited).exit
        self.rig.driver.sweep(task)
        self.rig.wait(order, Swept)
        return exit.code

    def alone(self) -> bool:
        """Nothing of it is left."""
        return not self.rig.containers()


@pytest.fixture
def scene(engine: DockerEngine) -> Iterator[Scene]:
    with unix_proxy(engine.socket) as (proxy, address):
        rig = DockerRig(engine, address=address)
        try:
            eventually(lambda: rig.driver.engine.met)
            rig.driver.end_strays([])
            yield Scene(rig, proxy)
        finally:
            proxy.faults.clear()
            rig.close()


@pytest.mark.parametrize("what", [IMAGE, CREATE, START, INSPECT, LOGS])
@pytest.mark.parametrize("how", [{}, {"half": True}], ids=["500 once", "half an answer"])
def test_a_start_comes_about_all_the_same(scene: Scene, what: str, how: dict[str, bool]) -> None:
    fault = scene.proxy.fail(what, **how)
    order = scene.rig.order()
    scene.ready(order)
    assert fault.met == 1
    assert len(scene.rig.containers()) == 1
    assert not scene.rig.facts(order, Exited)
    assert scene.ended(order) == 0
    eventually(scene.alone)


@pytest.mark.parametrize("what", [KILL, REMOVE])
@pytest.mark.parametrize(
    "how",
    [{}, {"half": True}, {"status": 404, "message": "no such container"}, {"status": 409}],
    ids=["500 once", "half an answer", "404", "409"],
)
def test_a_kill_comes_about_all_the_same(scene: Scene, what: str, how: dict[str, object]) -> None:
    order = scene.rig.order({"IGNORE_TERM": 1, "SLOW_TERM_MS": 0})
    scene.ready(order)
    fault = scene.proxy.fail(what, **how)
    scene.rig.driver.kill(scene.rig.task(order))
    assert scene.rig.wait(order, Exited).exit.signal == "SIGKILL"
    scene.rig.wait(order, Swept)
    assert fault.met == 1
    scene.rig.driver.forget(scene.rig.task(order))
    eventually(lambda: scene.rig.driver.reconcile() or scene.alone(), 20, every=1.0)


@pytest.mark.parametrize("status", [404, 500])
def test_a_signal_that_is_said_to_fail_ends_nothing_but_what_ends(scene: Scene, status: int) -> None:
    order = scene.rig.order()
    scene.ready(order)
    scene.proxy.fail(KILL, status=status, message="no such container")
    scene.rig.driver.signal(scene.rig.task(order), "SIGTERM")
    if status == 500:
        assert scene.rig.wait(order, Exited).exit.code == 0
        return
    scene.rig.driver.signal(scene.rig.task(order), "SIGTERM")
    assert scene.rig.wait(order, Exited).exit.code == 0


def test_a_name_that_is_said_to_be_taken_and_is_not(scene: Scene) -> None:
    scene.proxy.fail(CREATE, status=409, message="Conflict. The container name is already in use")
    order = scene.rig.order()
    scene.ready(order)
    assert not scene.rig.facts(order, LaunchFailed)


def test_a_name_that_somebody_else_has(scene: Scene, engine: DockerEngine) -> None:
    order = scene.rig.order()
    name = f"demo-production-0-{order.task_id[-12:]}"
    with engine.client() as client:
        made = client.create_container(order.spec.image, name=name)
        try:
            scene.rig.driver.launch(order)
            reason = scene.rig.wait(order, LaunchFailed).reason
            assert (reason.code, name in reason.message) == ("NAME_TAKEN", True)
        finally:
            client.remove_container(made["Id"], force=True)


def test_no_space_is_said_so_and_leaves_nothing(scene: Scene) -> None:
    message = "mkdir /var/lib/docker/overlay2/x: no space left on device"
    scene.proxy.fail(CREATE, message=message, times=9)
    order = scene.rig.order()
    scene.rig.driver.launch(order)
    reason = scene.rig.wait(order, LaunchFailed).reason
    assert (reason.code, "make room" in reason.message) == ("NO_SPACE", True)
    assert scene.alone()


def test_what_the_engine_does_not_find_once_is_no_end(scene: Scene) -> None:
    """A list without it, an inspection that denies it: looked at twice before it is believed."""
    order = scene.rig.order()
    scene.ready(order)
    scene.proxy.fail(r"GET .*/containers/json", status=500, times=2)
    scene.rig.driver.reconcile()
    eventually(lambda: all(fault.met for fault in scene.proxy.faults))
    scene.rig.driver.freeze(scene.rig.task(order))
    scene.rig.wait(order, Frozen)
    scene.rig.driver.thaw(scene.rig.task(order))
    assert scene.ended(order) == 0


def test_what_runs_for_a_start_that_was_put_off_is_not_taken_for_a_stray(scene: Scene) -> None:
    """The engine started it and broke off; it is asked again a moment later, and goes on with the same container."""
    scene.proxy.fail(START, half=True)
    order = scene.rig.order()
    scene.rig.driver.launch(order)
    scene.rig.wait(order, LaunchWaits)
    [first] = [one["Id"] for one in scene.rig.containers()]
    eventually(lambda: not scene.rig.driver.engine.away)
    scene.rig.driver.reconcile()
    scene.ready(order)
    assert scene.rig.handles[order.task_id].container_id == first
