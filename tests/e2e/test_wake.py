"""Requests for a sleeping app: held, one start, all answered, in order, within bounds of memory and of queues."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.herd import fetch, herd, percentile, starts, together
from tests.e2e.platform import Platform, host_of
from tests.support import eventually

HTTP_SERVER = (
    b'#!/bin/sh\necho start >> "$COUNT_FILE"\nexec python3 -m http.server "$PORT" --bind 127.0.0.1\n'
)


def test_a_thousand_requests_start_an_app_once(server: Platform, tiny: Path, common: Path) -> None:
    count = common / "starts"
    env = {"START_MS": "300", "COUNT_FILE": str(count)}
    deployment = server.deploy(tiny, env=env)
    server.sleep(deployment["id"])
    assert starts(count) == 1

    answers = herd(server.gateway_url, host_of(deployment), 1000)

    assert [answer.status for answer in answers] == [200] * 1000
    assert starts(count) == 2
    assert any("wake;dur=" in answer.headers["server-timing"] for answer in answers)
    # 500 ms beyond the start on a quiet machine; a crowded one makes the thousand connections alone slower.
    assert percentile(answers, 0.99) < 0.3 + 1.0 + server.start_secs


@pytest.mark.needs("python3 for tasks")
@pytest.mark.parametrize("count", [100, 1000])
def test_an_app_with_a_short_backlog_loses_none(
    server: Platform, rich: Path, common: Path, count: int
) -> None:
    """`python3 -m http.server` as it is: 5 connections wait for it at most."""
    counted = common / "starts"
    deployment = server.deploy(HTTP_SERVER, env={"COUNT_FILE": str(counted)})
    server.sleep(deployment["id"])
    answers = herd(server.gateway_url, host_of(deployment), count)
    assert not [answer for answer in answers if answer.status != 200]
    assert starts(counted) == 2


def test_a_full_queue_refuses_fast(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, env={"START_MS": "1500"}, wake={"queue_limit": 50})
    server.sleep(deployment["id"])
    _assert_fifty_of_sixty(server, host_of(deployment))


def _assert_fifty_of_sixty(server: Platform, host: str) -> None:
    answers = herd(server.gateway_url, host, 60)
    refused = [answer for answer in answers if answer.status != 200]
    assert [answer.status for answer in refused] == [503] * 10
    for answer in refused:
        assert b"WAKE_QUEUE_FULL" in answer.body
        assert int(answer.headers["retry-after"]) >= 1
    # Within 50 ms of coming; what is measured here includes sixty connections made at the same time.
    assert max(answer.seconds for answer in refused) < 0.25


def test_health_decides_when_requests_may_come(server: Platform, tiny: Path) -> None:
    env = {"START_MS": "100", "HEALTH_MS": "800"}
    deployment = server.deploy(tiny, env=env, networking={"health_path": "/health"})
    server.sleep(deployment["id"])
    host = host_of(deployment)
    [first, *rest] = sorted(herd(server.gateway_url, host, 20), key=lambda answer: answer.ended)
    assert {answer.status for answer in (first, *rest)} == {200}
    assert first.seconds >= 0.78  # the app's clock began a little after the request's
    assert first.seconds < 0.85 + 0.5 + server.start_secs
    assert server.get(host, "/hits").text == "20\n"


def test_who_leaves_while_held_is_never_seen_by_the_app(server: Platform, tiny: Path) -> None:
    env = {"START_MS": "1500"}
    deployment = server.deploy(tiny, env=env, wake={"queue_limit": 50})
    server.sleep(deployment["id"])
    host = host_of(deployment)

    async def thirty_leave() -> list[int]:
        url = server.gateway_url
        staying = [asyncio.create_task(fetch(url, host)) for _ in range(20)]
        leaving = [asyncio.create_task(fetch(url, host)) for _ in range(30)]
        await asyncio.sleep(0.3)
        for call in leaving:
            call.cancel()
        await asyncio.sleep(0.1)
        # Their places are free again, so thirty more find one.
        staying += [asyncio.create_task(fetch(url, host)) for _ in range(30)]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*leaving)
        return [answer.status for answer in await asyncio.gather(*staying)]

    assert asyncio.run(thirty_leave()) == [200] * 50
    assert server.get(host, "/hits").text == "50\n"
    server.sleep(deployment["id"])
    _assert_fifty_of_sixty(server, host)


@pytest.mark.needs("python3 for tasks")
def test_a_large_body_waits_outside_our_memory(server: Platform, rich: Path) -> None:
    deployment = server.deploy(rich, env={"START_MS": "500"}, resources={"memory": "256Mi"})
    server.sleep(deployment["id"])
    body = os.urandom(20 << 20)
    ours = [p for p in server.family() if any("platformd" in word for word in p.cmdline())]
    before = {process.pid: process.memory_info().rss for process in ours}
    grown = 0

    async def post_and_watch() -> str:
        nonlocal grown
        call = asyncio.create_task(fetch(server.gateway_url, host_of(deployment), "/sha256", "POST", body))
        while not call.done():
            await asyncio.sleep(0.02)
            grown = max(grown, sum(p.memory_info().rss for p in ours) - sum(before.values()))
        return (await call).text

    assert asyncio.run(post_and_watch()) == hashlib.sha256(body).hexdigest()
    assert grown < 5 << 20


def test_a_hundred_apps_wake_together(server: Platform, tiny: Path) -> None:
    """All of them are served; they start some at a time, so that the first ones are not as slow as the last."""
    count, env = 100 // server.share, {"START_MS": "100"}
    deployments = [server.deploy(tiny, wait=False, replicas=0, env=env) for _ in range(count)]
    hosts = [host_of(deployment) for deployment in deployments]
    answers = together(*(fetch(server.gateway_url, host, "/pid") for host in hosts))
    assert [answer.status for answer in answers] == [200] * count
    assert len({answer.text for answer in answers}) == (
        count if server.share == 1 else 1
    )  # its own pid 1 in each

    tasks = [eventually(lambda d=d: server.tasks(d["id"], "running"))[0] for d in deployments]
    places = 4 * len(os.sched_getaffinity(0))
    assert (
        most_at_once(tasks) < places * 2 or places * 2 > 100
    )  # rows say "ready" a little after a place is free


def most_at_once(tasks: list[Any]) -> int:
    """How many of them were starting at the same time."""
    changes = [(task["started_at"], 1) for task in tasks] + [(task["ready_at"], -1) for task in tasks]
    starting = most = 0
    for _, change in sorted(changes):
        starting += change
        most = max(most, starting)
    return most


def test_a_wake_is_one_process_and_marks_its_answer(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny)
    server.sleep(deployment["id"])
    host = host_of(deployment)
    cold = server.get(host, "/pid")
    warm = server.get(host, "/pid")
    assert cold.text == warm.text
    assert "wake;dur=" in cold.headers["Server-Timing"]
    assert "wake" not in warm.headers.get("Server-Timing", "")
    [task] = eventually(lambda: server.tasks(deployment["id"], "running"))
    assert str(task["pid"]) == cold.text.strip()
    assert psutil.pid_exists(task["pid"])


def test_a_caller_may_wake_it_and_sees_what_was_answered(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, env={"START_MS": "300"})
    server.sleep(deployment["id"])
    for _ in range(5):
        answer = server.api("POST", f"/deployments/{deployment['id']}/wake")
        shown = server.deployment(deployment["id"])
        assert (answer.status, answer.json["phase"]) == (202, "waking")
        assert shown["revision"] >= answer.json["revision"]
        server.wait(deployment["id"], lambda d: d["phase"] == "ready")
        again = server.api("POST", f"/deployments/{deployment['id']}/wake")
        assert (again.status, again.json["phase"]) == (202, "ready")
        server.sleep(deployment["id"])
