"""Apps that crash: pauses that double, a budget, another chance, and health that decides."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.herd import starts
from tests.e2e.platform import Platform, host_of
from tests.support import eventually


def gaps(server: Platform, deployment: Any) -> list[float]:
    """Seconds from the end of each task to the start of the next, of those that were started, oldest first."""
    started = [task for task in server.tasks(deployment["id"]) if task["started_at"] is not None]
    tasks = sorted(started, key=lambda task: task["started_at"])
    pairs = [(before["ended_at"], after["started_at"]) for before, after in itertools.pairwise(tasks)]
    return [(datetime.fromisoformat(b) - datetime.fromisoformat(a)).total_seconds() for a, b in pairs]


def test_the_pauses_double_until_the_budget_is_spent(server: Platform, tiny: Path, common: Path) -> None:
    """0.2 s, 0.4 s, 0.8 s, 1.6 s, 3.2 s, each within 20 % and what a busy machine adds; then it has failed."""
    count = common / "starts"
    env = {"EXIT_CODE": "1", "COUNT_FILE": str(count)}
    deployment = server.deploy(tiny, env=env, wait=False)
    ended = server.wait(deployment["id"], lambda d: d["phase"] == "done", 60)
    assert (ended["status"], ended["reason"]["code"], ended["reason"]["exit_code"]) == ("failed", "EXITED", 1)
    assert starts(count) == 6, "the first and five more"
    for number, gap in enumerate(gaps(server, deployment)):
        plain = 0.2 * 2**number
        assert plain * 0.8 - 0.01 <= gap <= plain * 1.2 + 1.0 + server.start_secs
    assert [task["restarts"] for task in server.ended_tasks(deployment["id"])] == [5, 4, 3, 2, 1, 0]
    lines = server.api("GET", f"/deployments/{deployment['id']}/logs?stream=system").json
    told = [line["message"] for line in lines if line["message"].startswith("task failed")]
    assert len(told) == 6
    assert "next try in" in told[0]


def test_a_crash_after_it_was_ready_is_one_failure(server: Platform, tiny: Path) -> None:
    """It comes again after the first pause, its deployment is running all the while."""
    deployment = server.deploy(tiny, cold_start_enabled=False)
    host = host_of(deployment)
    assert server.get(host, "/exit?9").status == 502
    meanwhile = server.get(host)
    assert meanwhile.json["code"] in ("WAKE_CRASHED", "BACKING_OFF")
    assert eventually(lambda: server.get(host).status == 200)
    [gap] = eventually(lambda: gaps(server, deployment))
    assert 0.15 <= gap < 1.5 + server.start_secs
    failed = eventually(lambda: server.tasks(deployment["id"], "failed"))
    assert [task["exit_code"] for task in failed] == [9]
    shown = server.wait(deployment["id"], lambda d: d["phase"] == "ready")
    assert (shown["status"], shown["reason"]) == ("running", None)
    [running] = eventually(lambda: server.tasks(deployment["id"], "running"))
    assert running["restarts"] == 1


def test_a_short_good_time_forgives_nothing(server: Platform, tiny: Path) -> None:
    """Ready each time and gone again soon: the pauses double all the same."""
    deployment = server.deploy(tiny, cold_start_enabled=False)
    host = host_of(deployment)
    for failures in range(1, 4):
        eventually(lambda: server.get(host).status == 200)
        server.get(host, "/exit?1")
        eventually(lambda n=failures: len(server.tasks(deployment["id"], "failed")) == n)
    eventually(lambda: server.tasks(deployment["id"], "running"))
    for number, gap in enumerate(gaps(server, deployment)):
        plain = 0.2 * 2**number
        assert plain * 0.8 - 0.01 <= gap <= plain * 1.2 + 1.0 + server.start_secs


@pytest.mark.parametrize("cold_start", [True, False])
def test_a_spent_budget_of_one_that_was_ready(server: Platform, tiny: Path, cold_start: bool) -> None:
    """With cold start it sleeps and the next request tries; without it backs off."""
    spec = {"restart": {"max_attempts": 0}, "cold_start_enabled": cold_start}
    deployment = server.deploy(tiny, **spec)
    host = host_of(deployment)
    server.get(host, "/exit?9")
    shown = server.wait(deployment["id"], lambda d: d["phase"] in ("backing_off", "asleep"))
    assert (shown["status"], shown["reason"]["exit_code"]) == ("running", 9)
    if cold_start:
        assert eventually(lambda: server.get(host).status == 200)
    else:
        refused = server.get(host)
        assert (refused.status, refused.json["code"]) == (503, "BACKING_OFF")
        assert 20 <= int(refused.headers["Retry-After"]) <= 30


def test_one_slot_that_fails_leaves_the_others_serving(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, replicas=3, cold_start_enabled=False)
    host = host_of(deployment)
    server.get(host, "/exit?1")
    answers = [server.get(host) for _ in range(50)]
    assert not [answer for answer in answers if answer.status != 200]
    server.wait(deployment["id"], lambda d: d["tasks_ready"] == 3)


def test_a_start_that_misses_its_deadline_has_failed(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, env={"NEVER": "1"}, progress_deadline_secs=2)
    assert (deployment["status"], deployment["reason"]["code"]) == ("failed", "PROGRESS_DEADLINE")
    server.wait(deployment["id"], lambda d: d["phase"] == "done")
    assert len(server.ended_tasks(deployment["id"])) == 1


@pytest.mark.needs("python3 for tasks")
@pytest.mark.parametrize("path", ["/slow?60000", "/redirect", "/flap"])
def test_health_that_is_not_good_fails_and_the_old_version_serves_on(
    server: Platform, rich: Path, path: str
) -> None:
    """Hanging, redirecting and failing answers are none; requests stay with the version that was good."""
    app = server.app()
    older = server.deploy(rich, app["id"])
    server.wait(older["id"], lambda d: d["current"])
    networking = {"health_check": {"path": path, "interval": "1s", "timeout": "1s"}}
    newer = server.deploy(rich, app["id"], networking=networking, progress_deadline_secs=2)
    assert (newer["status"], newer["reason"]["code"]) == ("failed", "PROGRESS_DEADLINE")
    shown = server.deployment(older["id"])
    assert (shown["current"], shown["phase"]) == (True, "ready")
    assert server.get(f"{app['subdomain']}-development.localhost").status == 200


@pytest.mark.needs("python3 for tasks")
def test_health_that_goes_takes_it_out_of_balance(server: Platform, rich: Path) -> None:
    """After three misses; and back when it is well again."""
    networking = {"health_check": {"path": "/health", "interval": "1s", "timeout": "1s"}}
    deployment = server.deploy(rich, networking=networking, cold_start_enabled=False)
    host = host_of(deployment)
    server.get(host, "/sicken?5000")
    assert server.get(host).status == 200, "one miss is none"
    server.wait(deployment["id"], lambda d: d["tasks_ready"] == 0)
    refused = eventually(lambda: (a := server.get(host)).status == 503 and a)
    assert refused.json["code"] == "ASLEEP"
    server.wait(deployment["id"], lambda d: d["tasks_ready"] == 1)
    assert eventually(lambda: server.get(host).status == 200)
    [task] = server.tasks(deployment["id"])
    assert (task["state"], task["restarts"]) == ("running", 0)
