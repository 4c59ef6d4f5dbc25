"""Wakes that were made ready ahead, seen from outside: they are faster, and otherwise wakes like any other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.herd import fetch, together
from tests.e2e.platform import Answer, Platform, host_of
from tests.e2e.processes import alive
from tests.support import eventually

ROUNDS = 12


def at_once(server: Platform, host: str, method: str, path: str, body: object = None) -> tuple[int, Answer]:
    """A request to the app and a call of the API in the same instant: the status of the one, the other's answer."""
    barrier = threading.Barrier(2)

    def call() -> Answer:
        barrier.wait(5)
        return server.api(method, path, body)

    def ask() -> int:
        barrier.wait(5)
        return server.get(host).status

    with ThreadPoolExecutor(2) as pool:
        asked, called = pool.submit(ask), pool.submit(call)
        return asked.result(60), called.result(60)


def test_a_wake_starts_one_task_whoever_asks_for_it(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny)
    id, host = deployment["id"], host_of(deployment)
    for round in range(ROUNDS):
        server.sleep(id)
        status, called = at_once(server, host, "POST", f"/deployments/{id}/wake")
        assert (status, called.status) == (200, 202)
        [task] = eventually(lambda: server.tasks(id, "running"))
        assert [process.pid for process in alive(id)] == [task["pid"]]
        assert len(server.tasks(id)) == round + 2, "one task for each wake, and the first"


def test_a_change_in_the_instant_of_a_wake_loses_no_request(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny)
    id, host = deployment["id"], host_of(deployment)
    for round in range(ROUNDS):
        server.sleep(id)
        change = {"spec": {"resources": {"memory": f"{100 + round}Mi"}}}
        status, called = at_once(server, host, "PATCH", f"/deployments/{id}", change)
        assert (status, called.status) == (200, 200), called.text
        assert server.get(host).status == 200
        server.wait(id, lambda d: d["phase"] == "ready" and d["observed_generation"] == d["generation"])
        eventually(lambda: len(alive(id)) == 1, 30)
        [task] = eventually(lambda: server.tasks(id, "running"))
        assert task["generation"] == round + 2
        assert alive(id)[0].pid == task["pid"]


def test_what_is_cancelled_in_the_instant_of_a_wake_leaves_nothing(server: Platform, tiny: Path) -> None:
    for _ in range(ROUNDS // 2):
        deployment = server.deploy(tiny)
        id, host = deployment["id"], host_of(deployment)
        server.sleep(id)
        status, called = at_once(server, host, "POST", f"/deployments/{id}/cancel")
        assert called.status == 200, called.text
        assert status in (200, 502, 503)
        server.wait(id, lambda d: d["phase"] == "done")
        eventually(lambda id=id: not alive(id), 30)
        server.ended_tasks(id)
        assert server.get(host).status == 503


def test_an_app_that_crashes_as_it_is_fired_fails_its_requests(
    server: Platform, tiny: Path, common: Path
) -> None:
    deployment = server.deploy(tiny, env={"DOWN_FILE": str(common / "down")})
    host = host_of(deployment)
    server.sleep(deployment["id"])
    (common / "down").touch()
    answers = together(*(fetch(server.gateway_url, host) for _ in range(5)))
    assert {answer.status for answer in answers} == {502}
    eventually(lambda: not alive(deployment["id"]))
