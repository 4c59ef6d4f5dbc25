"""Falling asleep: exactly when nothing has happened for the idle timeout, never under a request or a stream."""

from __future__ import annotations

import asyncio
import http.client
import random
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.sync.client import connect

from tests.e2e.herd import fetch, together
from tests.e2e.platform import Platform, host_of
from tests.support import eventually


def ended_at(server: Platform, deployment_id: str, timeout: float = 20.0) -> datetime:
    """When its last task ended, by the server's own clock; waits until it sleeps."""
    server.wait(deployment_id, lambda d: d["phase"] == "asleep", timeout)

    return datetime.fromisoformat(max(task["ended_at"] for task in server.ended_tasks(deployment_id)))


def idle_secs(server: Platform, deployment_id: str, since: datetime, timeout: float = 20.0) -> float:
    return (ended_at(server, deployment_id, timeout) - since).total_seconds()


def test_asleep_exactly_after_the_last_request_ended(server: Platform, tiny: Path) -> None:
    """Within a second, counted from the end of the last answer, not from its beginning or from the start."""
    deployment = server.deploy(tiny, idle_timeout_secs=2)
    server.get(host_of(deployment))
    server.get(host_of(deployment), "/slow?900")
    last = datetime.now(UTC)
    shown = server.wait(deployment["id"], lambda d: d["idle_deadline"] is not None)
    assert shown["phase"] == "ready"
    assert 1.0 <= idle_secs(server, deployment["id"], last) <= 3.0


def test_one_that_nobody_calls_sleeps_too(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, idle_timeout_secs=1)
    [task] = eventually(lambda: server.tasks(deployment["id"], "running"))
    ready = datetime.fromisoformat(task["ready_at"])
    assert 0.0 < idle_secs(server, deployment["id"], ready) <= 2.0


def test_a_request_longer_than_the_timeout_is_let_finish(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, idle_timeout_secs=1)
    assert server.get(host_of(deployment), "/slow?2500").status == 200
    assert 0.0 <= idle_secs(server, deployment["id"], datetime.now(UTC)) <= 2.0 + server.start_secs
    assert len(server.tasks(deployment["id"])) == 1


@pytest.mark.needs("python3 for tasks")
def test_an_open_socket_and_an_open_stream_keep_it_awake(server: Platform, rich: Path) -> None:
    """Each for three times the idle timeout, side by side with two deployments."""
    with_socket = server.deploy(rich, idle_timeout_secs=1)
    with_stream = server.deploy(rich, idle_timeout_secs=1)
    gateway = urlsplit(server.gateway_url)
    assert gateway.hostname is not None and gateway.port is not None
    began = time.monotonic()
    stream = http.client.HTTPConnection(gateway.hostname, gateway.port, timeout=20)
    stream.request("GET", "/events", headers={"Host": host_of(with_stream)})
    events = stream.getresponse()
    raw = socket.create_connection((gateway.hostname, gateway.port))
    with connect(f"ws://{host_of(with_socket)}/ws", sock=raw, open_timeout=20) as websocket:
        websocket.send("before")
        assert websocket.recv(timeout=20) == "before"
        before = [len(server.tasks(d["id"])) for d in (with_socket, with_stream)]
        while time.monotonic() - began < 3.2:
            assert events.readline().startswith((b"data: ", b"\n"))
        assert server.deployment(with_socket["id"])["phase"] == "ready"
        assert server.deployment(with_stream["id"])["phase"] == "ready"
        websocket.send("after")
        assert websocket.recv(timeout=20) == "after"
        events.close()
        stream.close()
        left_stream = datetime.now(UTC)
    left_socket = datetime.now(UTC)
    assert -1.0 <= idle_secs(server, with_stream["id"], left_stream) - 1 <= 1.0 + server.start_secs
    assert -1.0 <= idle_secs(server, with_socket["id"], left_socket) - 1 <= 1.0 + server.start_secs
    assert [len(server.tasks(d["id"])) for d in (with_socket, with_stream)] == before


def test_our_own_streams_keep_nothing_awake(server: Platform, tiny: Path) -> None:
    """Somebody reads its log all the time."""
    deployment = server.deploy(tiny, idle_timeout_secs=1)
    api = urlsplit(server.api_url)
    reading = http.client.HTTPConnection(api.hostname or "", api.port, timeout=20)
    reading.request("GET", f"/api/v1/deployments/{deployment['id']}/logs/stream")
    stream = reading.getresponse()
    assert stream.status == 200
    server.wait(deployment["id"], lambda d: d["phase"] == "asleep", 5)
    stream.close()
    reading.close()


def test_no_request_is_lost_to_the_idle_stop(server: Platform, tiny: Path) -> None:
    """A request at about the instant of the stop, 200 times: sometimes it is in time, sometimes it wakes it again."""
    deployments = [server.deploy(tiny, idle_timeout_secs=1) for _ in range(20 // server.share)]
    seed = random.randrange(1 << 30)
    spread = random.Random(seed)

    async def ten_times(host: str) -> list[tuple[int, bool]]:
        seen = []
        for _ in range(10):
            answer = await fetch(server.gateway_url, host)
            seen.append((answer.status, "wake" in answer.headers.get("server-timing", "")))
            await asyncio.sleep(1.0 + spread.uniform(-0.03, 0.05))
        return seen

    async def run() -> list[list[tuple[int, bool]]]:
        return await asyncio.gather(*(ten_times(host_of(deployment)) for deployment in deployments))

    seen: list[Any] = [each for times in asyncio.run(run()) for each in times]
    assert [status for status, _ in seen] == [200] * len(seen), f"seed {seed}"
    woken = sum(cold for _, cold in seen)
    assert 0 < woken < len(seen), (
        f"{woken} of {len(seen)} met a sleeping app: the race was not met; seed {seed}"
    )


def test_a_request_while_it_is_stopping_gets_a_task_of_its_own(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, env={"TERM_MS": "3000"})
    host = host_of(deployment)
    pid = server.get(host, "/pid").text
    asked = server.api("POST", f"/deployments/{deployment['id']}/sleep")
    assert asked.json["phase"] == "draining"
    [answer] = together(fetch(server.gateway_url, host, "/pid"))
    assert answer.status == 200
    assert answer.text != pid
    assert answer.seconds < 2.5, "it does not wait for the other's end"


def test_an_exclusive_one_waits_for_its_predecessor(server: Platform, tiny: Path) -> None:
    """And cuts its grace to a second."""
    deployment = server.deploy(tiny, env={"IGNORE_TERM": "1"}, stop={"exclusive": True, "grace_secs": 30})
    host = host_of(deployment)
    pid = server.get(host, "/pid").text
    server.api("POST", f"/deployments/{deployment['id']}/sleep")
    [answer] = together(fetch(server.gateway_url, host, "/pid"))
    assert answer.status == 200
    assert answer.text != pid
    assert 0.5 < answer.seconds < 10
    [new] = eventually(lambda: server.tasks(deployment["id"], "running"))
    [old] = eventually(lambda: server.tasks(deployment["id"], "stopped"))
    assert old["ended_at"] <= new["started_at"]


def test_a_killed_server_keeps_the_idle_deadline(platform: Platform, tiny: Path) -> None:
    deployment = platform.deploy(tiny, idle_timeout_secs=5)
    pid = platform.get(host_of(deployment), "/pid").text
    last = datetime.now(UTC)
    quiet = platform.wait(deployment["id"], lambda d: d["idle_deadline"] is not None)
    deadline = time.monotonic() + 2
    platform.kill()
    eventually(lambda: time.monotonic() > deadline)
    platform.start()
    again = platform.deployment(deployment["id"])
    assert again["phase"] == "ready"
    [task] = platform.tasks(deployment["id"])
    assert task["pid"] == int(pid)
    moved = datetime.fromisoformat(again["idle_deadline"]) - datetime.fromisoformat(quiet["idle_deadline"])
    assert abs(moved.total_seconds()) <= 1
    assert 4.0 <= idle_secs(platform, deployment["id"], last) <= 6.0
