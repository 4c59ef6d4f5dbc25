"""What tasks and deployments used: sampled, summed up, forgotten after an hour, told to those who may know."""

from __future__ import annotations

import asyncio

import pytest
from freezegun import freeze_time

from actors.traffic import Load
from actors.usage import EVERY_SECS, KEPT_SECS, Look
from handlers.authentication import Authentication
from handlers.callers import Caller
from handlers.operation import Scope
from platformd.domain.task import TaskPhase
from platformd.drivers.base import Usage
from tests.handlers.served import Served

MIB = 1 << 20


async def sample(api: Served) -> None:
    api.history.keep(await asyncio.to_thread(api.history.look))


async def test_tasks_are_measured_and_summed_up_for_their_deployment(api: Served) -> None:
    deployment = await api.deployment()
    first, second = [await api.task(deployment, slot=slot) for slot in range(2)]
    ended = await api.task(deployment, phase=TaskPhase.STOPPED)
    api.driver.used = {
        first.id: Usage(cpu_percent=12.5, memory_bytes=3 * MIB),
        second.id: Usage(cpu_percent=50.25, memory_bytes=4 * MIB),
        ended.id: Usage(cpu_percent=99.0, memory_bytes=9 * MIB),
    }
    api.loads[deployment["id"]] = Load(inflight=3, held=1)
    await sample(api)

    used = (await api.client.get(f"/api/v1/deployments/{deployment['id']}/usage")).json
    assert used["requests"] == {"in_flight": 3, "held": 1}
    [total] = used["samples"]
    assert {name: total[name] for name in ("tasks", "cpu_percent", "memory_bytes", "requests_in_flight")} == {
        "tasks": 2,
        "cpu_percent": 62.75,
        "memory_bytes": 7 * MIB,
        "requests_in_flight": 3,
    }
    [of_task] = (await api.client.get(f"/api/v1/tasks/{second.id}/usage")).json["samples"]
    assert (of_task["cpu_percent"], of_task["memory_bytes"]) == (50.25, 4 * MIB)
    assert (await api.client.get(f"/api/v1/tasks/{ended.id}/usage")).json["samples"] == []
    [awake] = (await api.client.get("/api/v1/usage")).json["data"]
    assert (awake["deployment_id"], awake["tasks"], awake["cpu_percent"]) == (deployment["id"], 2, 62.75)


async def test_what_fell_asleep_keeps_its_samples_and_is_not_awake(api: Served) -> None:
    deployment = await api.deployment()
    task = await api.task(deployment)
    api.driver.used = {task.id: Usage(cpu_percent=1.0, memory_bytes=MIB)}
    await sample(api)
    api.driver.used.clear()
    await sample(api)
    path = f"/api/v1/deployments/{deployment['id']}/usage"
    assert len((await api.client.get(path)).json["samples"]) == 1
    assert (await api.client.get("/api/v1/usage")).json["data"] == []


async def test_nobody_measures_what_is_not_there(api: Served) -> None:
    missing = "00000000-0000-0000-0000-000000000000"
    (await api.client.get(f"/api/v1/tasks/{missing}/usage")).problem(404, "TASK_NOT_FOUND")
    (await api.client.get(f"/api/v1/deployments/{missing}/usage")).problem(404, "DEPLOYMENT_NOT_FOUND")


async def test_a_bound_token_sees_its_own_app_alone(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [await api.deployment(await api.app_id(name)) for name in ("mine", "theirs")]
    for deployment in made:
        task = await api.task(deployment)
        api.driver.used[task.id] = Usage(cpu_percent=1.0, memory_bytes=MIB)
    await sample(api)
    mine, theirs = made
    caller = Caller(Scope.READ, "a token", mine["app_id"])
    monkeypatch.setattr(Authentication, "admit", lambda *_: caller)
    shown = (await api.client.get("/api/v1/usage")).json["data"]
    assert [one["deployment_id"] for one in shown] == [mine["id"]]
    assert (await api.client.get(f"/api/v1/deployments/{theirs['id']}/usage")).status == 403


async def test_processor_time_between_two_samples_makes_the_percentage(api: Served) -> None:
    deployment = await api.deployment()
    task = await api.task(deployment)

    def after(seconds: float, cpu_usec: int) -> Look:
        api.driver.used = {task.id: Usage(cpu_percent=77.0, memory_bytes=MIB, cpu_usec=cpu_usec)}
        return Look(1000.0 + seconds, api.history.look().used)

    api.history.keep(after(0, 1_000_000))
    api.history.keep(after(EVERY_SECS, 1_000_000 + EVERY_SECS * 250_000))
    api.history.keep(after(2 * EVERY_SECS, 0))  # a counter that begins anew is no negative use
    shown = api.history.of_task(task.id)["samples"]
    assert [one["cpu_percent"] for one in shown] == [77.0, 25.0, 0.0]


async def test_an_hour_is_kept_and_nothing_of_what_ended_before(api: Served) -> None:
    ticks = KEPT_SECS // EVERY_SECS + 10
    deployment = await api.deployment()
    lasting, short = [await api.task(deployment, slot=slot) for slot in range(2)]
    with freeze_time("2026-01-31T12:00:00Z", real_asyncio=True) as frozen:
        for tick in range(ticks):
            alive = [lasting, short] if tick == 0 else [lasting]
            api.driver.used = {task.id: Usage(cpu_percent=1.0, memory_bytes=tick) for task in alive}
            api.history.keep(Look(float(tick), api.history.look().used))
            frozen.tick(EVERY_SECS)
    kept = api.history.of_task(lasting.id)["samples"]
    assert [kept[0]["memory_bytes"], kept[-1]["memory_bytes"]] == [10, ticks - 1]
    assert api.history.of_task(short.id)["samples"] == []
