"""What an autoscaled deployment is asked for at once, as the gateway reports it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from platformd.gateway.demand import LASTING_SECS, Demand
from platformd.gateway.protocol import Config, TargetSpec
from platformd.gateway.routes import Deployment, Task
from tests.gateway.harness import DEPLOYMENT, App, Gateway
from tests.gateway.test_hold import hold, replies
from tests.gateway.test_idle import gated
from tests.support import eventually

Apps = Callable[..., App]


def demands(gateway: Gateway) -> list[Any]:
    assert gateway.serve
    loads = [message["deployments"] for message in gateway.serve.heard if message["op"] == "load"]
    return [load[DEPLOYMENT]["demand"] for load in loads if "demand" in load.get(DEPLOYMENT, {})]


def test_held_and_in_flight_are_counted_and_reported_each_second(gateway: Gateway, app: Apps) -> None:
    gateway.sleep(autoscaled=True, concurrency=2)
    waiting = hold(gateway, 5)
    eventually(lambda: len(demands(gateway)) >= 2)
    web = app(gated)
    gateway.release(web.address)
    eventually(lambda: len(demands(gateway)) >= 4)
    assert demands(gateway)[-1][0] == 5
    assert demands(gateway)[-1][1] == 5 or demands(gateway)[0][1] < 5  # the first second began before them
    web.gate.set()
    assert [reply.status for reply in replies(waiting)] == [200] * 5
    eventually(lambda: demands(gateway)[-1][0] < 5)


def test_others_are_not_measured(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    assert gateway.get().status == 200
    assert gateway.serve
    gateway.serve.hear("load")
    assert demands(gateway) == []


def test_averages_over_three_and_thirty_seconds_until_nobody_has_come_for_long() -> None:
    demand, deployment = Demand(), Deployment("d", Config(autoscaled=True))
    deployment.tasks = (Task(deployment, TargetSpec("t", ("127.0.0.1", 1))),)

    def second(inflight: int) -> Any:
        deployment.inflight = inflight
        for _ in range(10):
            demand.look()
        return demand.take().get(deployment)

    demand.watch(deployment)
    assert second(6) == (6, 6)
    assert second(0) == (3, 3)
    assert [second(0) for _ in range(2)][-1] == (0, 1.5)
    for _ in range(26):
        assert second(30)
    assert second(0) == (20, 26)
    for _ in range(LASTING_SECS - 1):
        assert second(0) is not None
    assert second(0) is None, "it was let go"
    demand.watch(deployment)
    assert second(3) == (3, 3)
    deployment.tasks = ()
    assert second(0) is None, "it sleeps"
