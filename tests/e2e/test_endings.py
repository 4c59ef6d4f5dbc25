"""Programs that end by themselves or run for as long as they may; workers and jobs, which nobody sends requests."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.herd import starts
from tests.e2e.platform import Platform, host_of
from tests.support import eventually

JOB = {"networking": {"protocol": "none"}}


def script(*lines: str) -> bytes:
    return "\n".join(("#!/bin/sh", *lines, "")).encode()


def lived(task: Any) -> float:
    """Seconds from its start to its end."""
    begin, end = (datetime.fromisoformat(task[key]) for key in ("started_at", "ended_at"))
    return (end - begin).total_seconds()


def test_an_app_may_put_itself_to_sleep(server: Platform, tiny: Path) -> None:
    """Exit 0 with cold start: no failure, no restart; the next request wakes it."""
    deployment = server.deploy(tiny)
    host = host_of(deployment)
    server.get(host, "/exit?0")
    asleep = server.wait(deployment["id"], lambda d: d["phase"] == "asleep")
    assert (asleep["status"], asleep["reason"]) == ("running", None)
    [task] = server.ended_tasks(deployment["id"])
    assert (task["state"], task["exit_code"]) == ("stopped", 0)
    assert server.get(host).status == 200
    assert eventually(lambda: len(server.tasks(deployment["id"])) == 2)


def test_without_cold_start_it_has_succeeded(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, cold_start_enabled=False)
    server.get(host_of(deployment), "/exit?0")
    ended = server.wait(deployment["id"], lambda d: d["phase"] == "done")
    assert ended["status"] == "succeeded"
    gone = server.get(host_of(deployment))
    assert (gone.status, gone.json["code"]) == (503, "NO_DEPLOYMENT")


def test_exit_0_before_it_was_ready_counts_as_ready(server: Platform) -> None:
    deployment = server.deploy(script("exit 0"))
    assert deployment["status"] == "running"
    assert server.wait(deployment["id"], lambda d: d["phase"] == "asleep")["status"] == "running"


def test_a_job_succeeds(server: Platform, common: Path) -> None:
    """Also one that is over before the second after which a worker counts as ready."""
    count = common / "starts"
    job = script(f"echo start >> {count}", "echo done", "exit 0")
    for seconds in (0, 2):
        count.unlink(missing_ok=True)
        ended = server.deploy(job.replace(b"exit", b"sleep %d; exit" % seconds), wait=False, **JOB)
        ended = server.wait(ended["id"], lambda d: d["phase"] == "done")
        assert (ended["status"], ended["reason"]) == ("succeeded", None)
        assert starts(count) == 1
        [task] = server.ended_tasks(ended["id"])
        assert (task["state"], task["exit_code"], task["published_port"]) == ("stopped", 0, None)


def test_a_job_that_fails_is_tried_again_and_then_failed(server: Platform, common: Path) -> None:
    count = common / "starts"
    job = script(f"echo start >> {count}", "echo no luck >&2", "exit 4")
    deployment = server.deploy(job, restart={"max_attempts": 2}, **JOB)
    assert deployment["status"] == "failed"
    assert (deployment["reason"]["exit_code"], deployment["reason"]["last_lines"]) == (4, ["no luck"])
    assert starts(count) == 3


def test_a_job_that_never_restarts_fails_at_once(server: Platform, common: Path) -> None:
    count = common / "starts"
    job = script(f"echo start >> {count}", "exit 4")
    assert server.deploy(job, restart={"policy": "never"}, **JOB)["status"] == "failed"
    assert starts(count) == 1


def test_a_worker_is_ready_after_a_second_and_stays(server: Platform) -> None:
    """It has no port, sleeps never, and its address says that it serves nobody."""
    deployment = server.deploy(script('echo "port: $PORT"', "exec sleep 1000"), idle_timeout_secs=1, **JOB)
    assert (deployment["status"], deployment["phase"]) == ("running", "ready")
    assert deployment["idle_deadline"] is None
    [task] = eventually(lambda: server.tasks(deployment["id"], "running"))
    began, ready = (datetime.fromisoformat(task[key]) for key in ("started_at", "ready_at"))
    assert 0.95 <= (ready - began).total_seconds() < 3
    refused = server.get(host_of(deployment))
    assert (refused.status, refused.json["code"]) == (503, "NO_DEPLOYMENT")
    until = time.monotonic() + 2.5
    eventually(lambda: time.monotonic() > until)
    assert server.deployment(deployment["id"])["phase"] == "ready"
    lines = server.api("GET", f"/deployments/{deployment['id']}/logs").json
    assert "port: " in [line["message"] for line in lines]


def test_always_means_after_exit_0_too(server: Platform, common: Path) -> None:
    count = common / "starts"
    job = script(f"echo start >> {count}", "exit 0")
    deployment = server.deploy(
        job, wait=False, restart={"policy": "always", "max_attempts": 100}, cold_start_enabled=False, **JOB
    )
    eventually(lambda: starts(count) >= 3)
    server.api("POST", f"/deployments/{deployment['id']}/cancel")
    server.wait(deployment["id"], lambda d: d["phase"] == "done")


@pytest.mark.parametrize("cold_start", [True, False])
def test_max_runtime(server: Platform, tiny: Path, common: Path, cold_start: bool) -> None:
    """From the task's start; then a graceful end and no restart: until traffic comes, or for good."""
    count = common / "starts"
    deployment = server.deploy(
        tiny, max_runtime_secs=2, cold_start_enabled=cold_start, env={"COUNT_FILE": str(count)}
    )
    host = host_of(deployment)
    final = "asleep" if cold_start else "done"
    ended = server.wait(deployment["id"], lambda d: d["phase"] == final)
    assert ended["status"] == ("running" if cold_start else "failed")
    assert ended["reason"]["code"] == "MAX_RUNTIME"
    [task] = server.ended_tasks(deployment["id"])
    assert task["reason"]["code"] == "MAX_RUNTIME"
    assert task["exit_code"] == 0, "it was asked, not killed"
    assert 1.9 <= lived(task) < 3.5
    assert starts(count) == 1
    assert server.get(host).status == (200 if cold_start else 503)


def test_max_runtime_of_a_job(server: Platform) -> None:
    job = script("trap 'echo asked; exit 0' TERM", "while true; do sleep 0.1; done")
    deployment = server.deploy(job, max_runtime_secs=2, **JOB)
    ended = server.wait(deployment["id"], lambda d: d["phase"] == "done")
    assert (ended["status"], ended["reason"]["code"]) == ("failed", "MAX_RUNTIME")
    lines = server.api("GET", f"/deployments/{deployment['id']}/logs").json
    assert "asked" in [line["message"] for line in lines]


def test_max_runtime_lets_requests_finish(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, max_runtime_secs=1)
    assert server.get(host_of(deployment), "/slow?2500").status == 200
    server.wait(deployment["id"], lambda d: d["phase"] == "asleep")
    [task] = server.ended_tasks(deployment["id"])
    assert (task["reason"]["code"], task["exit_code"]) == ("MAX_RUNTIME", 0)
