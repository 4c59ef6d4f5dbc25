"""Events of a whole server: a stream follows a sleep and a wake in order, keeps nothing awake, and survives a kill."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.platform import Platform, host_of


@contextlib.contextmanager
def stream(platform: Platform, path: str) -> Iterator[Iterator[Any]]:
    """The lines of JSON of a stream, as they come."""
    where = urlsplit(platform.api_url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    try:
        connection.request("GET", f"/api/v1{path}", headers={"Accept": "application/x-ndjson"})
        response = connection.getresponse()
        assert response.status == 200
        yield (json.loads(line) for line in response if line.strip())
    finally:
        connection.close()


def until(events: Iterator[Any], type: str) -> list[Any]:
    """Everything up to the next event of that type."""
    seen: list[Any] = []
    while not seen or seen[-1]["type"] != type:
        seen.append(next(events))
    return seen


def types(events: list[Any], *kinds: str) -> list[str]:
    return [event["type"] for event in events if event["type"].startswith(kinds)]


def test_streams_see_sleep_and_wake_in_order_and_keep_nothing_awake(platform: Platform, tiny: Path) -> None:
    deployment = platform.deploy(tiny, idle_timeout_secs=1)
    id, host = deployment["id"], host_of(deployment)
    with stream(platform, f"/events?deployment_id={id}&after=0") as events:
        seen = until(events, "deployment.asleep")
        assert types(seen, "deployment.")[0] == "deployment.created"
        assert {"deployment.ready", "deployment.current", "deployment.draining"} <= {
            *types(seen, "deployment.")
        }
        assert platform.get(host).status == 200
        woken = until(events, "deployment.asleep")
    order = types(woken, "deployment.", "wake.")
    assert order == [
        "deployment.waking",
        "wake.started",
        "deployment.ready",
        "wake.ready",
        "deployment.draining",
        "deployment.asleep",
    ]
    (ready,) = [event for event in woken if event["type"] == "wake.ready"]
    assert 0 < ready["data"]["duration_ms"] < 20_000
    (exited,) = [event for event in woken if event["type"] == "task.exited"]
    assert (exited["data"]["exit_code"], exited["data"]["asked"]) == (0, True)


def test_ids_go_on_after_a_kill(platform: Platform, tiny: Path) -> None:
    deployment = platform.deploy(tiny)
    platform.wait(deployment["id"], lambda d: d["current"])
    before = platform.api("GET", "/events?limit=1000", headers={"Accept": "application/json"}).json
    platform.kill()
    platform.start()
    platform.sleep(deployment["id"])
    half = before[len(before) // 2]["id"]
    with stream(platform, f"/events?after={half}") as events:
        seen = until(events, "deployment.asleep")
    assert [event for event in seen if event["id"] <= before[-1]["id"]] == before[len(before) // 2 + 1 :]
    ids = [event["id"] for event in seen]
    assert ids == sorted(set(ids))
