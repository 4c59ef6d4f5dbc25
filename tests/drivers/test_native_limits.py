"""Limits of native tasks and their health after they were ready."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from platformd.domain.events import Exited, HealthLost, HealthMissed, HealthRestored, Probed, Swept
from platformd.domain.spec import CpuPolicy, Protocol
from platformd.drivers import health
from platformd.drivers.cgroup import V1
from tests.drivers.rig import Rig
from tests.support import eventually


def folder(rig: Rig, task_id: str, controller: str) -> Path:
    """The task's version-1 cgroup; skipped elsewhere."""
    group = rig.driver._limits.cgroups.group(task_id) if rig.driver._limits.cgroups.usable else None
    if not isinstance(group, V1):
        pytest.skip("this machine has no version-1 cgroups")
    eventually(lambda: rig.driver._book.run(task_id).limited)
    return group._folders[controller]


def number(path: Path) -> int:
    return int(path.read_text())


def test_limits_are_set_and_all_its_processes_are_in(rig: Rig) -> None:
    order = rig.running({"DAEMON": 1, "CHILDREN": 2}, res={"memory": "96Mi", "cpu": "250m"})
    memory = folder(rig, order.task_id, "memory")
    assert number(memory / "memory.limit_in_bytes") == 96 << 20
    assert number(folder(rig, order.task_id, "cpu") / "cpu.shares") == 256
    assert number(folder(rig, order.task_id, "cpu") / "cpu.cfs_quota_us") == -1
    inside = {int(pid) for pid in (memory / "cgroup.procs").read_text().split()}
    assert inside == set(rig.marked(order))
    assert rig.driver._book.run(order.task_id).family.complete


def test_the_processor_cap_is_lifted_while_starting(rig: Rig) -> None:
    order = rig.launch({"DELAY_MS": 400}, res={"cpu": "500m", "cpu_policy": CpuPolicy.CAP})
    eventually(lambda: rig.driver._book.run(order.task_id).limited)
    quota = folder(rig, order.task_id, "cpu") / "cpu.cfs_quota_us"
    assert number(quota) == -1
    rig.wait(order, Probed)
    eventually(lambda: number(quota) == 50_000)


def test_beyond_its_memory_it_is_killed_and_it_shows(either: Rig) -> None:
    order = either.running({"DELAY_MS": 0, "CHILD": 1}, res={"memory": "64Mi"})
    greedy = either.launch(
        {"EAT_MB": 300, "EAT_AFTER_MS": 100}, res={"memory": "64Mi"}, net={"protocol": Protocol.NONE}
    )
    exited = either.wait(greedy, Exited).exit
    assert exited.oom_killed
    assert exited.signal == "SIGKILL"
    either.driver.sweep(either.task(greedy))
    either.wait(greedy, Swept)
    assert either.names(order) == ["Launched", "Probed"], "its neighbour goes on"


def test_a_plain_kill_is_not_one_for_memory(either: Rig) -> None:
    order = either.running()
    eventually(lambda: either.driver._book.run(order.task_id).limited)
    either.driver.kill(either.task(order))
    assert not either.wait(order, Exited).exit.oom_killed


def test_without_cgroups_a_line_says_so(bare: Rig) -> None:
    order = bare.running()
    eventually(lambda: bare.said(order, "each second"))


def test_usage(either: Rig) -> None:
    idle, busy = either.running(), either.running({"SPIN": 1})

    def measured() -> bool:
        used = either.driver.usage([idle.task_id, busy.task_id, "nobody"])
        return (
            set(used) == {idle.task_id, busy.task_id}
            and used[busy.task_id].cpu_percent > 20
            and used[idle.task_id].cpu_percent < 20
            and used[idle.task_id].memory_bytes > 0
        )

    eventually(measured)


def test_health_after_ready(rig: Rig, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three misses, an answer, and a patience that is spent."""
    monkeypatch.setattr(health, "PATIENCE_SECS", 1.0)
    sick = room / "sick"
    net = {"health_path": "/health", "health_interval_secs": 0.05, "health_timeout_secs": 0.5}
    order = rig.running({"SICK_FILE": sick}, net=net)
    sick.touch()
    rig.wait(order, HealthMissed)
    sick.unlink()
    rig.wait(order, HealthRestored)
    sick.touch()
    reason = rig.wait(order, HealthLost).reason
    assert reason.code == "UNHEALTHY"
    assert "GET /health" in reason.message
    assert "503" in reason.message
    assert rig.names(order) == [
        "Launched",
        "Probed",
        *("HealthMissed", "HealthRestored"),
        "HealthMissed",
        "HealthLost",
    ]
    sick.unlink()


def test_a_listener_that_goes_away_is_a_miss(rig: Rig) -> None:
    net = {"health_path": "/health", "health_interval_secs": 0.05}
    order = rig.running({"DAEMON": 1}, net=net)
    run = rig.driver._book.run(order.task_id)
    for pid in set(rig.marked(order)) - {run.family.pid}:
        os.kill(pid, signal.SIGKILL)
    rig.wait(order, HealthMissed)
    assert not rig.facts(order, Exited)
