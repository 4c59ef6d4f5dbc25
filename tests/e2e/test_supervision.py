"""One deployment whose actor fails over and over, one whose row is garbage: all others go on, and tooling sees it."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.platform import Platform, host_of
from tests.support import eventually


@pytest.fixture
def poisoned(data_dir: Path, request: pytest.FixtureRequest) -> Iterator[Platform]:
    server = Platform(data_dir)
    try:
        yield server.start(PLATFORMD_FAULT_AT=f"StartTask {request.param} bad")
    finally:
        server.destroy()


def actor(platform: Platform, deployment_id: str) -> Any:
    answer = platform.api("GET", f"/actors/deployment:{deployment_id}")
    assert answer.status == 200, answer.text
    return answer.json


@pytest.mark.parametrize("poisoned", ["RuntimeError", "SystemExit", "KeyboardInterrupt"], indirect=True)
def test_a_poisoned_deployment_is_quarantined_and_resumed_while_all_others_go_on(
    poisoned: Platform, tiny: Path
) -> None:
    good = poisoned.deploy(tiny)
    bad = poisoned.deploy(tiny, poisoned.app("bad")["id"], wait=False)
    held = poisoned.wait(bad["id"], lambda d: d["phase"] == "quarantined")
    assert held["reason"]["code"] == "QUARANTINED"
    seen = eventually(lambda: (found := actor(poisoned, bad["id"]))["quarantined"] and found)
    assert seen["restarts"] == 6
    assert "injected" in seen["last_failure"]["error"]
    listed = poisoned.api("GET", "/actors?state=quarantined").json
    assert [found["id"] for found in listed["data"]] == [bad["id"]]
    letters = poisoned.api("GET", "/dead-letters").json["data"]
    assert {letter["key"] for letter in letters} == {f"deployment:{bad['id']}"}
    events = poisoned.api("GET", f"/deployments/{bad['id']}/events?type=deployment.quarantined").json
    assert [event["data"]["reason"]["code"] for event in events] == ["QUARANTINED"]

    assert poisoned.get(host_of(bad)).status == 503
    assert poisoned.api("POST", f"/deployments/{bad['id']}/wake").status == 503
    assert poisoned.get(host_of(good)).text == "ok\n"
    poisoned.sleep(good["id"])
    assert poisoned.get(host_of(good)).text == "ok\n"

    assert poisoned.api("POST", f"/actors/deployment:{bad['id']}/resume").status == 202
    poisoned.wait(bad["id"], lambda d: d["phase"] == "quarantined" and d["revision"] > held["revision"])

    poisoned.kill()
    poisoned.start()  # without the fault
    poisoned.wait(bad["id"], lambda d: d["phase"] == "ready")
    assert poisoned.get(host_of(bad)).text == "ok\n"


def test_a_row_that_is_garbage_concerns_nobody_else(platform: Platform, tiny: Path) -> None:
    good, bad = platform.deploy(tiny), platform.deploy(tiny)
    platform.kill()
    with contextlib.closing(sqlite3.connect(platform.data_dir / "platformd.db")) as database:
        database.execute("UPDATE deployments SET snapshot = '{\"identity\": 7' WHERE id = ?", (bad["id"],))
        database.commit()
    platform.start()
    assert platform.get(host_of(good)).text == "ok\n"
    assert platform.api("GET", f"/deployments/{bad['id']}").status == 404
    assert platform.api("GET", "/deployments").status == 200
    assert platform.api("GET", "/actors").status == 200
    assert platform.api("POST", f"/actors/deployment:{bad['id']}/restart").status == 404
    platform.sleep(good["id"])
    assert platform.get(host_of(good)).text == "ok\n"


def test_restarts_lose_nothing_that_was_acknowledged(platform: Platform) -> None:
    """Commands from many sides while the actor is replaced again and again: each acknowledged one is in the row."""
    app_id = platform.app()["id"]
    made = platform.api("POST", f"/apps/{app_id}/deployments", {"process_type": "tish"})
    assert made.status == 201, made.text
    id, stop = made.json["id"], threading.Event()
    acknowledged: list[tuple[int, int]] = []
    strange: list[Any] = []
    numbers = itertools.count(1)

    def scale() -> None:
        while not stop.is_set():
            wanted = next(numbers) % 99 + 1
            answer = platform.api("PATCH", f"/deployments/{id}", {"spec": {"replicas": wanted}})
            if answer.status == 200:
                acknowledged.append((answer.json["generation"], answer.json["spec"]["replicas"]))
            elif answer.json["code"] not in ("ACTOR_RESTARTED", "MAILBOX_FULL"):
                strange.append(answer.text)

    def replace() -> None:
        while not stop.is_set():
            platform.api("POST", f"/actors/deployment:{id}/restart")

    threads = [threading.Thread(target=work) for work in (*[scale] * 6, replace, replace)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(acknowledged) > 150, 60)
    stop.set()
    for thread in threads:
        thread.join()
    assert not strange

    def settled() -> tuple[Any, dict[int, int]] | None:
        """What was answered with ACTOR_RESTARTED may still be on its way to its row."""
        found, stored = platform.deployment(id), scalings(platform, id)
        return (found, stored) if len(stored) == found["generation"] - 1 else None

    final, stored = eventually(settled)
    by_generation = dict(acknowledged)
    assert final["generation"] >= max(by_generation)
    if final["generation"] in by_generation:
        assert final["spec"]["replicas"] == by_generation[final["generation"]]
    # What was written last of a generation stands; one that was answered with ACTOR_RESTARTED may have been replaced.
    assert set(acknowledged) <= {(1, 1), *stored.items()}
    assert actor(platform, id)["restarts"] > 0


def scalings(platform: Platform, deployment_id: str) -> dict[int, int]:
    """Generation → replicas, by its events."""
    events: list[Any] = []
    query = "type=deployment.scaled&limit=1000"
    while page := platform.api(
        "GET", f"/deployments/{deployment_id}/events?{query}&after={events[-1]['id'] if events else 0}"
    ).json:
        events += page
    return {event["data"]["generation"]: event["data"]["replicas"] for event in events}
