"""Versions of one app and environment: who has the address, when it moves, and what becomes of the older one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tests.e2e.herd import herd
from tests.e2e.platform import Answer, Platform, host_of
from tests.support import eventually


def address_of(app: Any, slug: str = "development") -> str:
    """Where an environment's current deployment is reached."""
    return f"{app['subdomain']}.localhost" if slug == "production" else f"{app['subdomain']}-{slug}.localhost"


def create(server: Platform, app: Any, binary: Path, **spec: Any) -> Any:
    return server.deploy(binary, app["id"], wait=False, **spec)


def is_current(server: Platform, deployment: Any) -> Any:
    return server.wait(deployment["id"], lambda d: d["current"])


def test_the_newer_takes_the_address_once_it_is_ready(server: Platform, tiny: Path) -> None:
    app = server.app()
    older = server.deploy(tiny, app["id"])
    is_current(server, older)
    older_pid = server.get(address_of(app), "/pid").text

    newer = create(server, app, tiny, env={"START_MS": "1000"})
    while server.deployment(newer["id"])["status"] == "pending":
        assert server.deployment(older["id"])["current"], "not before it is ready"
    is_current(server, newer)
    newer_pid = eventually(lambda: (pid := server.get(address_of(app), "/pid").text) != older_pid and pid)
    assert newer_pid == server.get(host_of(newer), "/pid").text

    put_away = server.wait(older["id"], lambda d: d["phase"] == "asleep")
    assert (put_away["status"], put_away["current"]) == ("running", False)
    assert put_away["superseded_by"] == newer["id"]
    woken = server.get(host_of(older), "/pid")
    assert woken.status == 200, "its own address leads to it for ever"
    assert woken.text not in (older_pid, newer_pid)
    assert server.get(address_of(app), "/pid").text == newer_pid


def test_requests_end_where_they_began(server: Platform, tiny: Path) -> None:
    app = server.app()
    older = server.deploy(tiny, app["id"])
    is_current(server, older)
    answers: list[Answer] = []
    slow = threading.Thread(target=lambda: answers.append(server.get(address_of(app), "/slow?1500")))
    slow.start()
    eventually(lambda: _in_flight(server, older))
    newer = server.deploy(tiny, app["id"])
    is_current(server, newer)
    assert server.get(address_of(app)).status == 200
    assert not answers, "the slow one is still under way"
    slow.join(20)
    assert [answer.status for answer in answers] == [200]


def _in_flight(server: Platform, deployment: Any) -> bool:
    """True once its only connection-at-a-time server is busy: the gateway tells each second."""
    return any("in_flight" in why for why in map(str, server.deployment(deployment["id"])["awake_because"]))


def test_nothing_is_lost_while_the_address_moves(server: Platform, tiny: Path) -> None:
    app = server.app()
    server.deploy(tiny, app["id"])
    host = address_of(app)
    eventually(lambda: server.get(host).status == 200)
    statuses: list[int] = []
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            statuses.append(server.get(host).status)

    calling = threading.Thread(target=call)
    calling.start()
    for _ in range(5):
        newest = server.deploy(tiny, app["id"])
        is_current(server, newest)
    seen = len(statuses)
    eventually(lambda: len(statuses) > seen + 20)
    over.set()
    calling.join(20)
    assert set(statuses) == {200}


def test_without_cold_start_the_older_one_is_cancelled(server: Platform, tiny: Path) -> None:
    app = server.app()
    older = server.deploy(tiny, app["id"], cold_start_enabled=False)
    newer = server.deploy(tiny, app["id"])
    ended = server.wait(older["id"], lambda d: d["phase"] == "done")
    assert (ended["status"], ended["reason"]["code"]) == ("cancelled", "SUPERSEDED")
    assert ended["superseded_by"] == newer["id"]
    gone = server.get(host_of(older))
    assert (gone.status, gone.json["code"]) == (503, "NO_DEPLOYMENT")


def test_a_failing_newer_one_never_takes_the_address(server: Platform, tiny: Path) -> None:
    app = server.app()
    older = server.deploy(tiny, app["id"])
    pid = eventually(lambda: (a := server.get(address_of(app), "/pid")).status == 200 and a.text)
    failing = server.deploy(tiny, app["id"], env={"EXIT_CODE": "1"}, restart={"max_attempts": 0})
    assert failing["status"] == "failed"
    assert not failing["current"]
    assert server.deployment(older["id"])["current"]
    assert server.get(address_of(app), "/pid").text == pid


def test_an_older_one_still_pending_is_cancelled(server: Platform, tiny: Path) -> None:
    app = server.app()
    older = create(server, app, tiny, env={"NEVER": "1"})
    newer = server.deploy(tiny, app["id"])
    ended = server.wait(older["id"], lambda d: d["status"] != "pending")
    assert (ended["status"], ended["reason"]["code"]) == ("cancelled", "SUPERSEDED")
    server.wait(older["id"], lambda d: d["phase"] == "done")
    assert server.deployment(newer["id"])["current"]


def test_an_older_one_that_is_ready_later_does_not_take_it_back(server: Platform, tiny: Path) -> None:
    """Two of one environment; the slow older one is out before it would listen."""
    app = server.app()
    older = create(server, app, tiny, env={"START_MS": "800"})
    newer = create(server, app, tiny)
    is_current(server, newer)
    server.wait(older["id"], lambda d: d["status"] == "cancelled")
    assert server.deployment(newer["id"])["current"]


def test_other_environments_are_left_alone(server: Platform, tiny: Path) -> None:
    app = server.app()
    development = server.deploy(tiny, app["id"])
    production = server.deploy(tiny, app["id"], environment="production")
    assert is_current(server, development)["phase"] == "ready"
    assert is_current(server, production)["phase"] == "ready"
    pids = {server.get(address_of(app, slug), "/pid").text for slug in ("development", "production")}
    assert len(pids) == 2


def test_cancelling_the_current_one_brings_nothing_back(server: Platform, tiny: Path) -> None:
    app = server.app()
    older = server.deploy(tiny, app["id"])
    newer = server.deploy(tiny, app["id"])
    is_current(server, newer)
    cancelled = server.api("POST", f"/deployments/{newer['id']}/cancel").json
    assert (cancelled["status"], cancelled["current"]) == ("cancelled", False)
    nobody = eventually(lambda: (a := server.get(address_of(app))).status == 503 and a)
    assert nobody.json["code"] == "NO_DEPLOYMENT"
    assert not server.deployment(older["id"])["current"]
    assert server.get(host_of(older)).status == 200


def test_promote_runs_the_same_in_production(server: Platform, tiny: Path) -> None:
    """Instantly: the artifact as it is, the source untouched; a sleeping source stays asleep."""
    app = server.app()
    source = server.deploy(tiny, app["id"], env={"WHERE": "here"}, idle_timeout_secs=77)
    server.sleep(source["id"])
    before = server.deployment(source["id"])
    answer = server.api(
        "POST", f"/deployments/{source['id']}/promote", {"strategy": "instant", "environment": "production"}
    )
    assert answer.status == 201
    assert answer.json["message"] == "Deployment created and scheduler notified"
    promoted = is_current(server, {"id": answer.json["deployment_id"]})
    assert promoted["environment_slug"] == "production"
    assert promoted["version"] == source["version"] + 1
    assert promoted["spec"]["artifact_id"] == source["spec"]["artifact_id"]
    assert (promoted["spec"]["env"]["WHERE"], promoted["spec"]["idle_timeout_secs"]) == ("here", 77)
    assert eventually(lambda: server.get(address_of(app, "production")).status == 200)
    assert server.deployment(source["id"]) == before


def test_a_version_born_asleep_takes_the_address_and_runs_at_the_next_wake(
    server: Platform, tiny: Path, common: Path
) -> None:
    app = server.app()
    older = server.deploy(tiny, app["id"])
    count = common / "starts"
    newer = server.deploy(tiny, app["id"], replicas=0, env={"COUNT_FILE": str(count)})
    assert (newer["status"], newer["phase"]) == ("running", "asleep")
    is_current(server, newer)
    assert not count.exists()
    answers = herd(server.gateway_url, address_of(app), 20)
    assert [answer.status for answer in answers] == [200] * 20
    assert count.read_text() == "start\n"
    server.wait(older["id"], lambda d: d["phase"] == "asleep")
