"""Ends: everything of a task goes, in time, with the right reason; cancelling at any moment, once or twice."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.herd import fetch
from tests.e2e.platform import Platform, host_of
from tests.e2e.processes import alive, zombies
from tests.support import eventually

WORKER = {"networking": {"protocol": "none"}}


def cancel(server: Platform, deployment: Any) -> Any:
    answer = server.api("POST", f"/deployments/{deployment['id']}/cancel")
    assert answer.status == 200, answer.text
    return answer.json


def done(server: Platform, deployment: Any, timeout: float = 30.0) -> Any:
    """Waited for until nothing of it is left; its only final state is asserted."""
    ended = server.wait(deployment["id"], lambda d: d["phase"] == "done", timeout)
    assert not alive(deployment["id"])
    return ended


def settled(server: Platform, deployment: Any) -> None:
    path = f"/deployments/{deployment['id']}/logs"
    eventually(lambda: any(e["message"] == "settled" for e in server.api("GET", path).json), 30)


@pytest.mark.parametrize("kind", ["double", "setsid", "nohup", "zombies", "double,setsid,nohup,stubborn"])
def test_nothing_outlives_its_task(server: Platform, kind: str, brood: Path) -> None:
    spec = {"env": {"BROOD": kind}, "stop": {"grace_secs": 1}}
    deployment = server.deploy(brood, **WORKER, **spec)
    settled(server, deployment)
    assert alive(deployment["id"])
    cancel(server, deployment)
    assert done(server, deployment)["status"] == "cancelled"
    assert eventually(lambda: not zombies([server.keeper_pid(), server.pid]))


def test_two_thousand_children_go_too(server: Platform, brood: Path) -> None:
    spec = {"env": {"BROOD": "many"}, "resources": {"memory": "2Gi"}, "stop": {"grace_secs": 1}}
    deployment = server.deploy(brood, **WORKER, **spec)
    settled(server, deployment)
    assert len(alive(deployment["id"])) > 1900
    cancel(server, deployment)
    assert done(server, deployment, 60)["status"] == "cancelled"
    assert server.api("GET", "/apps").status == 200


def test_what_ignores_sigterm_is_killed_at_the_deadline(server: Platform, brood: Path) -> None:
    deployment = server.deploy(brood, **WORKER, env={"BROOD": "stubborn"}, stop={"grace_secs": 2})
    settled(server, deployment)
    began = time.monotonic()
    cancel(server, deployment)
    done(server, deployment)
    assert 1.9 <= time.monotonic() - began < 2 + 3 + server.start_secs
    [task] = server.ended_tasks(deployment["id"])
    assert (task["state"], task["exit_code"], task["signal"]) == ("stopped", None, "SIGKILL")
    assert task["reason"]["code"] == "CANCELLED"


def test_a_slow_exit_within_the_grace_keeps_its_code(server: Platform, brood: Path) -> None:
    deployment = server.deploy(brood, **WORKER, env={"BROOD": "slow"})
    settled(server, deployment)
    began = time.monotonic()
    cancel(server, deployment)
    done(server, deployment)
    assert 0.6 <= time.monotonic() - began < 5 + server.start_secs
    [task] = server.ended_tasks(deployment["id"])
    assert (task["state"], task["exit_code"], task["signal"]) == ("stopped", 7, None)


def test_stop_of_one_task_brings_another(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny)
    pid = server.get(host_of(deployment), "/pid").text
    [task] = eventually(lambda: server.tasks(deployment["id"], "running"))
    stopped = server.api("POST", f"/tasks/{task['id']}/stop")
    assert stopped.status in (200, 202)
    assert eventually(lambda: (a := server.get(host_of(deployment), "/pid")).status == 200 and a.text != pid)
    [old] = eventually(lambda: server.tasks(deployment["id"], "stopped"))
    assert (old["id"], old["reason"]["code"], old["exit_code"]) == (task["id"], "STOPPED", 0)
    [new] = eventually(lambda: server.tasks(deployment["id"], "running"))
    assert new["restarts"] == 0


@pytest.mark.parametrize("moment", ["at once", "starting", "running", "asleep", "stopping", "backing off"])
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_cancelled_at_any_moment(server: Platform, tiny: Path, moment: str, times: int) -> None:
    deployment = _brought_to(server, tiny, moment)
    for _ in range(times):
        assert cancel(server, deployment)["status"] == "cancelled"
    ended = done(server, deployment)
    assert ended["status"] == "cancelled"
    assert (ended["tasks_total"], ended["tasks_ready"], ended["reason"]["code"]) == (0, 0, "CANCELLED")
    server.ended_tasks(deployment["id"])
    assert cancel(server, deployment)["revision"] == ended["revision"]
    gone = server.get(host_of(deployment))
    assert (gone.status, gone.json["code"]) == (503, "NO_DEPLOYMENT")


def _brought_to(server: Platform, tiny: Path, moment: str) -> Any:
    """A deployment at that moment of its life."""
    match moment:
        case "at once":
            return server.deploy(tiny, wait=False)
        case "starting":
            deployment = server.deploy(tiny, wait=False, env={"NEVER": "1"})
            eventually(lambda: server.tasks(deployment["id"], "starting"))
        case "running":
            deployment = server.deploy(tiny)
        case "asleep":
            deployment = server.deploy(tiny)
            server.sleep(deployment["id"])
        case "stopping":
            deployment = server.deploy(tiny, env={"TERM_MS": "800"})
            server.api("POST", f"/deployments/{deployment['id']}/sleep")
            eventually(lambda: server.tasks(deployment["id"], "stopping"))
        case _:
            deployment = server.deploy(tiny, wait=False, env={"EXIT_CODE": "1"}, restart={"max_attempts": 50})
            server.wait(deployment["id"], lambda d: d["phase"] == "backing_off")
    return deployment


def test_of_a_finished_one_there_is_nothing_to_cancel(server: Platform, tiny: Path) -> None:
    failed = server.deploy(tiny, env={"EXIT_CODE": "1"}, restart={"max_attempts": 0})
    refused = server.api("POST", f"/deployments/{failed['id']}/cancel")
    assert (refused.status, refused.json["code"]) == (409, "INVALID_STATE")


def test_a_cancelled_one_makes_room_for_the_next(server: Platform, tiny: Path) -> None:
    """The queue behind it moves: a slow start is cancelled, the next one of that environment comes up."""
    app = server.app()
    stuck = server.deploy(tiny, app["id"], wait=False, env={"NEVER": "1"})
    cancel(server, stuck)
    after = server.deploy(tiny, app["id"])
    assert after["status"] == "running"
    done(server, stuck)


def test_in_flight_requests_end_before_the_signal(server: Platform, tiny: Path) -> None:
    """Cancelled in the middle of an answer: the answer comes whole, then the app goes."""
    deployment = server.deploy(tiny)

    async def run() -> int:
        call = asyncio.create_task(fetch(server.gateway_url, host_of(deployment), "/slow?1200"))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cancel, server, deployment)
        return (await call).status

    assert asyncio.run(run()) == 200
    done(server, deployment)
