"""Orders armed at a real keeper: fired, launched, disarmed, lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from platformd.domain.events import Exited, Launched, Probed
from platformd.domain.spec import DeploymentSpec, Networking, Protocol, Volume
from platformd.drivers.base import LaunchOrder
from platformd.keeper import wire
from tests.drivers.rig import Rig
from tests.support import eventually

Fire = Callable[[LaunchOrder], dict[str, Any]]


@pytest.fixture
def fire(rig: Rig) -> Iterator[Fire]:
    """Fires as the gateway does: the keeper's answer."""
    sock = wire.connect(rig.data_dir / "run")
    sock.settimeout(10)

    def shoot(order: LaunchOrder) -> dict[str, Any]:
        wire.send(sock, {"op": "fire", "task": order.task_id})
        got = wire.receive(sock)
        assert got is not None
        return got[0]

    yield shoot
    sock.close()


@pytest.fixture
def fired(rig: Rig) -> list[str]:
    """The tasks that were fired before anybody launched them."""
    heard: list[str] = []
    rig.driver.arms.on_fired = lambda order: heard.append(order.task_id)
    return heard


def armed(rig: Rig, **spec: Any) -> LaunchOrder:
    order = rig.order(**spec)
    rig.driver.arms.arm(order)
    assert rig.driver.arms.of(order.deployment_id) == order
    return order


def test_a_fired_order_is_told_of_when_it_is_launched(rig: Rig, fire: Fire) -> None:
    order = armed(rig)
    pid = fire(order)["pid"]
    assert rig.names(order) == []
    rig.driver.launch(order)
    assert rig.wait(order, Launched).pid == pid
    assert rig.wait(order, Probed).address == rig.facts(order, Launched)[0].address
    assert rig.names(order) == ["Launched", "Probed"]
    assert rig.driver.arms.of(order.deployment_id) is None


def test_of_one_that_is_fired_and_never_launched_somebody_hears(
    rig: Rig, fire: Fire, fired: list[str]
) -> None:
    order = armed(rig)
    fire(order)
    eventually(lambda: fired == [order.task_id])
    assert rig.names(order) == [], "it has no actor yet"
    rig.driver.launch(order)
    rig.wait(order, Probed)
    assert rig.names(order)[0] == "Launched"


def test_one_that_ended_before_it_was_launched_has_ended(rig: Rig, fire: Fire, fired: list[str]) -> None:
    order = rig.order({"EXIT_MS": 1, "EXIT": 3})
    rig.driver.arms.arm(order)
    fire(order)
    eventually(lambda: fired == [order.task_id])
    rig.driver.launch(order)
    assert rig.wait(order, Exited).exit.code == 3
    assert rig.names(order)[0] == "Launched"


def test_what_is_disarmed_gives_back_its_port(rig: Rig, fire: Fire) -> None:
    order = armed(rig)
    heard: list[int | None] = []
    rig.driver.arms.announce = lambda _, port: heard.append(port)
    rig.driver.arms.disarm(order.deployment_id)
    assert rig.driver.arms.of(order.deployment_id) is None
    assert heard == [None]
    eventually(lambda: not rig.driver._ports._ports)
    assert fire(order)["op"] == "unarmed"
    assert rig.marked(order) == []


def test_one_that_is_disarmed_too_late_is_told_as_fired(rig: Rig, fire: Fire, fired: list[str]) -> None:
    order = armed(rig)
    fire(order)
    rig.driver.arms.disarm(order.deployment_id)
    eventually(lambda: fired == [order.task_id])
    assert rig.driver.arms.of(order.deployment_id) is None
    rig.driver.launch(order)
    rig.wait(order, Probed)


def test_the_latest_are_armed(rig: Rig) -> None:
    rig.driver.arms._most = 2
    orders = [armed(rig) for _ in range(3)]
    assert [rig.driver.arms.of(order.deployment_id) is not None for order in orders] == [False, True, True]


def test_with_the_keeper_goes_what_it_had_armed(rig: Rig) -> None:
    order = armed(rig)
    rig.serve.loop.call(lambda: rig.driver.on_keeper_event({"op": "resynced", "tasks": []}))
    assert rig.driver.arms.of(order.deployment_id) is None
    assert not rig.driver._ports._ports
    rig.driver.launch(order)
    rig.wait(order, Probed)


@pytest.mark.parametrize(
    ("spec", "suits"),
    [
        (DeploymentSpec(), True),
        (DeploymentSpec(networking=Networking(health_path="/")), True),
        (DeploymentSpec(networking=Networking(port=8080)), False),
        (DeploymentSpec(networking=Networking(protocol=Protocol.HTTP_FD)), False),
        (DeploymentSpec(networking=Networking(protocol=Protocol.NONE)), False),
        (DeploymentSpec(volumes=(Volume(host_path="/data/x", container_path="/data/x"),)), False),
    ],
)
def test_only_plain_starts_are_armed(rig: Rig, spec: DeploymentSpec, suits: bool) -> None:
    assert rig.driver.arms.suits(spec) is suits
