"""What keeps a deployment awake beside traffic, what does not, and that it says why it is awake."""

from __future__ import annotations

import http.client
import json
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.platform import Platform, host_of
from tests.support import eventually


def lease(server: Platform, deployment_id: str, for_secs: float) -> Any:
    answer = server.api("POST", f"/deployments/{deployment_id}/keep-awake", {"for_secs": for_secs})
    assert answer.status == 200, answer.text
    return answer.json


def ended_secs_after(server: Platform, deployment: Any, since: float) -> float:
    server.wait(deployment["id"], lambda d: d["phase"] == "asleep", 15)
    return time.monotonic() - since


def test_a_lease_holds_it_awake_and_the_timeout_begins_when_it_ends(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, idle_timeout_secs=1)
    began = time.monotonic()
    held = lease(server, deployment["id"], 2)
    assert "keep_awake_lease" in held["awake_because"]
    until, deadline = (datetime.fromisoformat(held[key]) for key in ("keep_awake_until", "idle_deadline"))
    assert (deadline - until).total_seconds() == pytest.approx(1, abs=0.1)
    assert lease(server, deployment["id"], 1)["keep_awake_until"] == held["keep_awake_until"]
    assert 2.8 < ended_secs_after(server, deployment, began) < 5
    assert server.deployment(deployment["id"])["keep_awake_until"] is None


def test_a_lease_wakes_what_sleeps_and_zero_ends_it(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, idle_timeout_secs=1)
    server.sleep(deployment["id"])
    lease(server, deployment["id"], 600)
    awake = server.wait(deployment["id"], lambda d: d["phase"] == "ready")
    assert awake["keep_awake_until"] is not None
    began = time.monotonic()
    assert lease(server, deployment["id"], 0)["keep_awake_until"] is None
    assert ended_secs_after(server, deployment, began) < 4


@pytest.mark.parametrize(("body", "status"), [({"for_secs": -1}, 422), ({}, 422), ({"for_secs": "x"}, 422)])
def test_a_lease_that_makes_no_sense_is_refused(
    server: Platform, tiny: Path, body: dict[str, Any], status: int
) -> None:
    deployment = server.deploy(tiny)
    assert server.api("POST", f"/deployments/{deployment['id']}/keep-awake", body).status == status


def test_a_lease_survives_a_kill(platform: Platform, tiny: Path) -> None:
    deployment = platform.deploy(tiny, idle_timeout_secs=1)
    began = time.monotonic()
    held = lease(platform, deployment["id"], 5)
    platform.kill()
    platform.start()
    assert platform.deployment(deployment["id"])["keep_awake_until"][:19] == held["keep_awake_until"][:19]
    assert 5 < ended_secs_after(platform, deployment, began) < 9


@pytest.mark.needs("python3 for tasks")
def test_a_busy_path_keeps_it_awake_until_it_says_no(server: Platform, rich: Path) -> None:
    deployment = server.deploy(rich, idle_timeout_secs=1, keep_awake={"busy_path": "/health"})
    busy = server.wait(deployment["id"], lambda d: "keep_awake_busy_path" in d["awake_because"])
    assert busy["phase"] == "ready"
    [task] = server.tasks(deployment["id"], "running")
    since = time.monotonic()
    eventually(lambda: time.monotonic() - since > 2.5)
    assert [each["id"] for each in server.tasks(deployment["id"], "running")] == [task["id"]]
    began = time.monotonic()
    server.get(host_of(deployment), "/sicken?60000")
    assert 0.9 < ended_secs_after(server, deployment, began) < 4


def test_work_without_requests_keeps_it_awake(server: Platform) -> None:
    busy = b"""#!/usr/bin/env python3
import os, socket
s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    pass
"""
    deployment = server.deploy(busy, idle_timeout_secs=1, keep_awake={"cpu_percent": 5})
    seen = server.wait(deployment["id"], lambda d: "keep_awake_cpu_percent" in d["awake_because"])
    assert seen["phase"] == "ready"
    server.api("POST", f"/deployments/{deployment['id']}/cancel")


@pytest.mark.parametrize("mode", ["stop", "freeze"])
def test_streams_do_not_keep_it_awake_and_see_what_happens(server: Platform, tiny: Path, mode: str) -> None:
    """Log and event streams attached: asleep all the same, and the phases come in order."""
    deployment = server.deploy(tiny, idle_timeout_secs=1, sleep={"mode": mode})
    seen: list[str] = []
    opened = [threading.Event(), threading.Event()]
    stop = threading.Event()

    def follow(url: str, opened: threading.Event) -> None:
        where = urlsplit(server.api_url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        connection.request("GET", f"/api/v1{url}", headers={"Accept": "text/event-stream"})
        answer = connection.getresponse()
        opened.set()
        while not stop.is_set() and (line := answer.readline().decode().strip()) is not None:
            if line.startswith("data: ") and "type" in (event := json.loads(line[6:])):
                seen.append(event["type"].removeprefix("deployment."))
        connection.close()

    path = f"/deployments/{deployment['id']}"
    urls = (f"{path}/logs/stream", f"/events?deployment_id={deployment['id']}")
    threads = [threading.Thread(target=follow, args=pair) for pair in zip(urls, opened, strict=True)]
    for thread in threads:
        thread.start()
    assert all(event.wait(10) for event in opened)
    server.wait(deployment["id"], lambda d: d["phase"] == "asleep")
    assert server.get(host_of(deployment)).status == 200
    server.wait(deployment["id"], lambda d: d["phase"] == "asleep")
    wanted = ["asleep", "waking", "ready", "asleep"]
    eventually(lambda: [phase for phase in seen if phase in wanted][-4:] == wanted)
    stop.set()
    server.api("POST", f"{path}/cancel")
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
