"""Sleep by freezing: every thread stands where it was, and a request makes it go on."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.platform import Platform, host_of
from tests.e2e.processes import alive
from tests.support import eventually

pytestmark = pytest.mark.needs("python3 for tasks")
COUNTING = Path(__file__).parent / "apps" / "counting.py"


class Counter:
    """One deployment of the counting app, and what it leaves in files."""

    def __init__(self, server: Platform, common: Path, **spec: Any) -> None:
        self.server = server
        self.file, self.mark, self.child = common / "count", common / "mark", common / "child"
        env = {"FILE": str(self.file), "MARK": str(self.mark), "CHILD": str(self.child)}
        body = {"sleep": {"mode": "freeze"}, "env": env, **spec}
        self.id = server.deploy(COUNTING, **body)["id"]
        self.host = host_of(server.deployment(self.id))
        eventually(lambda: self.child.exists() and self.file.exists())

    @property
    def task(self) -> Any:
        [task] = eventually(lambda: self.server.tasks(self.id, "running"))
        return task

    def stands_still(self) -> bool:
        """The thread and the child that left its session, both."""
        before = self.file.read_text(), self.child.stat().st_size
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            if (self.file.read_text(), self.child.stat().st_size) != before:
                return False
        return True

    def count(self) -> int:
        answer = self.server.get(self.host, "/count")
        assert answer.status == 200, answer.text
        return int(answer.text)


@pytest.fixture
def counter(server: Platform, common: Path) -> Iterator[Counter]:
    made = Counter(server, common)
    yield made
    server.api("POST", f"/deployments/{made.id}/cancel")
    server.ended_tasks(made.id)


def test_the_counter_stands_while_it_sleeps_and_a_request_makes_it_go_on(counter: Counter) -> None:
    server, pid = counter.server, counter.task["pid"]
    assert not counter.stands_still()
    asleep = server.sleep(counter.id)
    task = eventually(lambda: (task := counter.task)["frozen"] and task)
    assert (task["state"], task["pid"], task["exit_code"]) == ("running", pid, None)
    assert (asleep["tasks_total"], asleep["tasks_ready"], asleep["progress"]) == (0, 0, 100)
    assert asleep["awake_because"] == []
    assert counter.stands_still()
    stood_at = int(counter.file.read_text())
    assert stood_at <= counter.count() < stood_at + 500
    awake = server.wait(counter.id, lambda d: d["phase"] == "ready")
    assert (awake["tasks_ready"], awake["idle_deadline"] is None) == (1, False)
    assert (counter.task["pid"], counter.task["frozen"]) == (pid, False)
    assert not counter.stands_still()


def test_it_thaws_within_a_moment(counter: Counter) -> None:
    took = []
    for _ in range(20):
        counter.server.sleep(counter.id)
        began = time.monotonic()
        counter.count()
        took.append(time.monotonic() - began)
    assert statistics.quantiles(took, n=20)[-1] < 0.025 + counter.server.start_secs / 100


def test_it_freezes_when_it_is_idle_and_not_under_a_request(server: Platform, common: Path) -> None:
    counter = Counter(server, common, idle_timeout_secs=1)
    assert server.get(counter.host, "/slow?2000").status == 200
    server.wait(counter.id, lambda d: d["phase"] == "asleep")
    assert counter.stands_still()
    assert server.get(counter.host, "/count").status == 200
    server.api("POST", f"/deployments/{counter.id}/cancel")


def test_frozen_then_cancelled_it_hears_the_signal(counter: Counter) -> None:
    counter.server.sleep(counter.id)
    assert counter.server.api("POST", f"/deployments/{counter.id}/cancel").status == 200
    [task] = counter.server.ended_tasks(counter.id)
    assert counter.mark.read_text() == "terminated"
    assert (task["exit_code"], task["signal"], task["frozen"]) == (0, None, False)
    assert not alive(counter.id)
    grown = counter.child.stat().st_size
    assert counter.server.wait(counter.id, lambda d: d["phase"] == "done")["status"] == "cancelled"
    assert counter.child.stat().st_size == grown


def test_killed_from_outside_while_frozen_it_is_missed_and_replaced(counter: Counter) -> None:
    counter.server.sleep(counter.id)
    pid = counter.task["pid"]
    os.kill(pid, signal.SIGKILL)
    [task] = counter.server.ended_tasks(counter.id)
    assert task["signal"] == "SIGKILL"
    assert counter.server.wait(counter.id, lambda d: d["phase"] == "asleep")["reason"] is None
    assert counter.count() < 1000
    assert counter.task["pid"] != pid


def test_its_max_runtime_counts_while_it_is_frozen(server: Platform, common: Path) -> None:
    counter = Counter(server, common, max_runtime_secs=3)
    server.sleep(counter.id)
    [task] = server.ended_tasks(counter.id)
    assert (task["reason"]["code"], counter.mark.read_text()) == ("MAX_RUNTIME", "terminated")
    assert server.wait(counter.id, lambda d: d["phase"] == "asleep")["status"] == "running"
    assert counter.count() >= 0


def test_auto_freezes_first_and_stops_after_ten_timeouts(server: Platform, common: Path) -> None:
    counter = Counter(server, common, sleep={"mode": "auto"}, idle_timeout_secs=1)
    server.wait(counter.id, lambda d: d["phase"] == "asleep")
    assert counter.task["frozen"]
    began = time.monotonic()
    eventually(counter.mark.exists, 15)
    server.ended_tasks(counter.id)
    assert 8 < time.monotonic() - began < 13
    assert server.wait(counter.id, lambda d: d["phase"] == "asleep")["tasks_total"] == 0
    assert counter.count() >= 0


@pytest.mark.parametrize("who", ["serve", "keeper"])
def test_a_kill_leaves_it_frozen_until_the_next_request(platform: Platform, common: Path, who: str) -> None:
    counter = Counter(platform, common, replicas=1)
    platform.sleep(counter.id)
    pid = counter.task["pid"]
    if who == "keeper":
        os.kill(platform.keeper_pid(), signal.SIGKILL)
    platform.kill()
    assert counter.stands_still()
    platform.start()
    assert counter.stands_still()
    assert platform.deployment(counter.id)["phase"] == "asleep"
    assert (counter.task["pid"], counter.task["frozen"]) == (pid, True)
    assert counter.count() > 0
    assert counter.task["pid"] == pid
