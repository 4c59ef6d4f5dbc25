"""Scaling in place: up, down with the newest first, to zero and back, and what may not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.herd import herd
from tests.e2e.platform import Platform, host_of
from tests.support import eventually


def scale(server: Platform, deployment: Any, replicas: int) -> Any:
    answer = server.api("PATCH", f"/deployments/{deployment['id']}", {"spec": {"replicas": replicas}})
    assert answer.status == 200, answer.text
    return answer.json


def settled(server: Platform, deployment: Any, ready: int) -> Any:
    return server.wait(
        deployment["id"],
        lambda d: (
            d["tasks_ready"] == d["tasks_total"] == ready and d["generation"] == d["observed_generation"]
        ),
    )


def pids(server: Platform, deployment: Any) -> set[str]:
    """Who answers."""
    answers = herd(server.gateway_url, host_of(deployment), 40, "/pid")
    assert {answer.status for answer in answers} == {200}
    return {answer.text.strip() for answer in answers}


def running(server: Platform, deployment: Any) -> dict[int, str]:
    """Pid by slot."""
    return {task["slot"]: str(task["pid"]) for task in server.tasks(deployment["id"], "running")}


def test_up_and_down(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny)
    [first] = pids(server, deployment)

    raised = scale(server, deployment, 3)
    assert raised["generation"] == deployment["generation"] + 1
    assert raised["spec"]["replicas"] == 3
    shown = settled(server, deployment, 3)
    assert (shown["phase"], shown["progress"]) == ("ready", 100)
    three = eventually(lambda: len(found := running(server, deployment)) == 3 and found)
    assert three[0] == first, "what ran goes on"
    assert pids(server, deployment) == set(three.values())

    scale(server, deployment, 1)
    settled(server, deployment, 1)
    assert eventually(lambda: running(server, deployment) == {0: first}), "the newest go first"
    assert pids(server, deployment) == {first}
    gone = eventually(lambda: len(found := server.tasks(deployment["id"], "stopped")) == 2 and found)
    assert [task["reason"]["code"] for task in gone] == ["SCALED_DOWN"] * 2


def test_to_zero_and_back_by_a_request(server: Platform, tiny: Path) -> None:
    """A wake starts as many as there were."""
    deployment = server.deploy(tiny, replicas=2)
    assert deployment["tasks_ready"] == 2
    scale(server, deployment, 0)
    asleep = server.wait(deployment["id"], lambda d: d["phase"] == "asleep")
    assert (asleep["status"], asleep["tasks_total"], asleep["progress"]) == ("running", 0, 100)
    assert asleep["generation"] == asleep["observed_generation"]
    assert server.get(host_of(deployment)).status == 200
    settled(server, deployment, 2)


def test_from_zero_by_a_number(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, replicas=0)
    assert (deployment["status"], deployment["phase"]) == ("running", "asleep")
    assert server.tasks(deployment["id"]) == []
    scale(server, deployment, 2)
    settled(server, deployment, 2)
    assert len(pids(server, deployment)) == 2


def test_requests_go_on_while_it_scales(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, replicas=3)
    for replicas in (1, 4, 2, 3):
        scale(server, deployment, replicas)
        answers = herd(server.gateway_url, host_of(deployment), 100, lambda number: f"/slow?{number % 7}")
        assert [answer.status for answer in answers] == [200] * 100
    settled(server, deployment, 3)


def test_the_same_number_again_changes_nothing(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny)
    assert scale(server, deployment, 1)["revision"] == server.deployment(deployment["id"])["revision"]
    assert scale(server, deployment, 1)["generation"] == deployment["generation"]


def test_what_may_not_be_scaled(server: Platform, tiny: Path) -> None:
    """A finished one; and other keys are refused by name, with nothing changed."""
    deployment = server.deploy(tiny)
    path = f"/deployments/{deployment['id']}"
    refused = server.api("PATCH", path, {"spec": {"replicas": 2, "idle_timeout_secs": 3}})
    assert refused.status == 422
    assert [fault["pointer"] for fault in refused.json["errors"]] == ["/spec/idle_timeout_secs"]
    assert server.deployment(deployment["id"])["spec"]["replicas"] == 1
    server.api("POST", f"{path}/cancel")
    late = server.api("PATCH", path, {"spec": {"replicas": 2}})
    assert (late.status, late.json["code"]) == (409, "INVALID_STATE")
