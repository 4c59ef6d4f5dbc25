"""Deployments and tasks over HTTP: what a create answers, what orders are sent on, what the lists show."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from platformd.domain import commands
from platformd.domain.deployment.state import Phase
from platformd.domain.operations import ClaimCurrent
from platformd.domain.task import TaskPhase
from platformd.errors import InvalidState
from tests.handlers.served import Served
from tests.support import eventually

DEPLOYMENTS = "/api/v1/deployments"
NOWHERE = "00000000-0000-4000-8000-000000000000"


async def test_create_answers_with_the_object(api: Served) -> None:
    app_id, artifact_id = await api.app_id(), await api.artifact_id()
    body = {
        "artifact_id": artifact_id,
        "process_type": "tish",
        "replicas": 1,
        "environment": "production",
        "networking": {"port": 8080},
        "env": {"LOG_LEVEL": "info"},
    }
    made = await api.client.post(f"/api/v1/apps/{app_id}/deployments", body)
    shown = made.json
    assert made.status == 201
    assert made.headers["location"] == f"{DEPLOYMENTS}/{shown['id']}"
    assert (shown["version"], shown["status"], shown["phase"]) == (1, "pending", "starting")
    assert (shown["environment_slug"], shown["tasks_ready"], shown["tasks_total"]) == ("production", 0, 1)
    assert (shown["spec"]["networking"]["port"], shown["spec"]["env"]) == (8080, {"LOG_LEVEL": "info"})
    assert shown["preview_url"] == f"http://my-api-{shown['sha']}-production.localhost:47000"
    assert (await api.client.get(made.headers["location"])).json == shown


async def test_without_an_artifact_it_waits_for_a_build(api: Served) -> None:
    app_id = await api.app_id()
    made = await api.client.post(f"/api/v1/apps/{app_id}/deployments", {})
    assert (made.status, made.json["status"], made.json["phase"]) == (201, "pending", "waiting_for_build")
    promoted = await api.client.post(f"{DEPLOYMENTS}/{made.json['id']}/promote", {})
    promoted.problem(409, "INVALID_STATE")


@pytest.mark.parametrize(
    ("body", "status", "code", "pointers"),
    [
        ({"artifact_id": NOWHERE}, 422, "INVALID", ["/artifact_id"]),
        ({"replicas": "3", "bogus": 1}, 422, "INVALID", ["/replicas", "/bogus"]),
        ({"networking": {"port": 80}, "replicas": 2}, 422, "INVALID", ["/networking/port"]),
        (
            {"volumes": [{"host_path": "/etc", "container_path": "/etc"}]},
            422,
            "INVALID",
            ["/volumes/0/host_path"],
        ),
        (
            {"resources": {"cpu": "1000000000m", "memory": "1"}},
            422,
            "INVALID",
            ["/resources/cpu", "/resources/memory"],
        ),
        (
            {"autoscale": {"min": 1}, "no_wake": [{}]},
            422,
            "INVALID",
            ["/autoscale/max", "/autoscale/target_concurrency"],
        ),
        ({"user": "root"}, 422, "INVALID", ["/user"]),
        ({"image": "nginx:latest"}, 422, "INVALID", ["/image"]),
    ],
)
async def test_refusals_leave_nothing(
    api: Served, body: dict[str, Any], status: int, code: str, pointers: list[str]
) -> None:
    app_id = await api.app_id()
    refused = await api.client.post(f"/api/v1/apps/{app_id}/deployments", body)
    refused.problem(status, code)
    assert refused.pointers == pointers
    assert (await api.client.get(DEPLOYMENTS)).json["total"] == 0
    assert (await api.deployment(app_id))["version"] == 1


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04zip", b"\x7fEL", b" #!/bin/sh"])
async def test_what_no_kernel_starts_is_refused(api: Served, content: bytes) -> None:
    body = {"artifact_id": await api.artifact_id(content), "replicas": 1}
    refused = await api.client.post(f"/api/v1/apps/{await api.app_id()}/deployments", body)
    refused.problem(422, "INVALID")
    assert refused.pointers == ["/artifact_id"]


async def test_an_artifact_without_bytes(api: Served) -> None:
    made = await api.client.post("/api/v1/artifacts", {"name": "server"})
    body = {"artifact_id": made.json["id"]}
    refused = await api.client.post(f"/api/v1/apps/{await api.app_id()}/deployments", body)
    refused.problem(409, "ARTIFACT_INCOMPLETE")


async def test_a_change_of_some_resources_keeps_the_others(api: Served) -> None:
    deployment = await api.deployment(resources={"cpu": "100m", "memory": "64Mi"})
    path = f"{DEPLOYMENTS}/{deployment['id']}"
    answer = await api.client.call("PATCH", path, {"spec": {"resources": {"memory": "96Mi"}}})
    assert answer.json["spec"]["resources"] == {"cpu": "100m", "memory": "96Mi", "cpu_policy": "cap"}
    asked = commands.Change(resources=commands.ResourcesChange(memory="96Mi"))
    assert api.actors.asked[-1] == ("deployment", deployment["id"], asked)
    stated = await api.client.call("PATCH", path, {"spec": {"resources": {"cpu": 2}}})
    assert stated.json["spec"]["resources"]["cpu"] == "2"


async def test_restart(api: Served) -> None:
    deployment = await api.deployment()
    answer = await api.client.post(f"{DEPLOYMENTS}/{deployment['id']}/restart")
    assert answer.status == 202
    assert api.actors.asked[-1] == ("deployment", deployment["id"], commands.Restart())
    (await api.client.post(f"{DEPLOYMENTS}/{NOWHERE}/restart")).problem(404, "DEPLOYMENT_NOT_FOUND")


async def test_scale(api: Served) -> None:
    deployment = await api.deployment()
    path = f"{DEPLOYMENTS}/{deployment['id']}"
    for replicas in (3, 0):
        answer = await api.client.call("PATCH", path, {"spec": {"replicas": replicas}})
        assert (answer.status, answer.json["spec"]["replicas"]) == (200, replicas)
        assert api.actors.asked[-1] == ("deployment", deployment["id"], commands.Change(replicas=replicas))
        assert (await api.client.get(path)).json == answer.json
    api.actors.fail = InvalidState("it is cancelled")
    (await api.client.call("PATCH", path, {"spec": {"replicas": 1}})).problem(409, "INVALID_STATE")
    (await api.client.call("PATCH", f"{DEPLOYMENTS}/{NOWHERE}", {"spec": {"replicas": 1}})).problem(
        404, "DEPLOYMENT_NOT_FOUND"
    )


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/spec"]),
        ({"spec": {}}, ["/spec"]),
        ({"spec": {"replicas": 101}}, ["/spec/replicas"]),
        ({"spec": {"replicas": -1}}, ["/spec/replicas"]),
        ({"spec": {"replicas": True}}, ["/spec/replicas"]),
        ({"spec": {"replicas": 1, "image": "x"}}, ["/spec/image"]),
        ({"spec": {"process_type": "docker"}}, ["/spec/image"]),
        ({"spec": {"image": None, "resources": {"cpu": "x"}}}, ["/spec/image", "/spec/resources/cpu"]),
        (
            {"spec": {"replicas": 2, "volumes": [{"host_path": "/etc", "container_path": "/x"}]}},
            ["/spec/volumes/0/host_path", "/spec/replicas", "/spec/volumes/0/container_path"],
        ),
        ({"spec": {"replicas": 1, "env": {}}}, ["/spec/env"]),
        ({"replicas": 1}, ["/replicas", "/spec"]),
        ({"spec": {"replicas": 2}}, ["/spec/replicas"]),
    ],
)
async def test_patches_that_are_refused(api: Served, body: dict[str, Any], pointers: list[str]) -> None:
    deployment = await api.deployment(networking={"port": 8080})
    refused = await api.client.call("PATCH", f"{DEPLOYMENTS}/{deployment['id']}", body)
    refused.problem(422, "INVALID")
    assert refused.pointers == pointers
    assert api.actors.asked == []


@pytest.mark.parametrize(
    ("action", "status", "command"),
    [("cancel", 200, commands.Cancel()), ("wake", 202, commands.Wake()), ("sleep", 202, commands.Sleep())],
)
async def test_orders(api: Served, action: str, status: int, command: object) -> None:
    deployment = await api.deployment()
    path = f"{DEPLOYMENTS}/{deployment['id']}/{action}"
    for body in (None, {}):
        answer = await api.client.post(path, body)
        assert (answer.status, answer.json["id"]) == (status, deployment["id"])
        assert api.actors.asked[-1] == ("deployment", deployment["id"], command)
    assert (await api.client.post(path, {"force": True})).pointers == ["/force"]
    assert (await api.client.post(path + "?now=1")).pointers == ["/now"]
    assert len(api.actors.asked) == 2


async def test_promote_to_another_environment_gives_up_the_fixed_port(api: Served) -> None:
    deployment = await api.deployment(networking={"port": 8080}, env={"A": "1"}, resources={"cpu": "250m"})
    path = f"{DEPLOYMENTS}/{deployment['id']}/promote"
    answer = await api.client.post(path, {"strategy": "instant", "environment": "production"})
    assert answer.status == 201
    assert answer.json["message"] == "Deployment created and scheduler notified"
    assert answer.headers["location"] == f"{DEPLOYMENTS}/{answer.json['deployment_id']}"
    made = (await api.client.get(answer.headers["location"])).json
    assert (made["version"], made["environment_slug"]) == (2, "production")
    assert made["spec"] == deployment["spec"] | {
        "networking": deployment["spec"]["networking"] | {"port": None}
    }
    assert [said[0] for said in api.said] == [made["id"]]
    assert "8080" in api.said[0][1]


async def test_promote_into_its_own_environment_is_a_rollback(api: Served) -> None:
    deployment = await api.deployment(networking={"port": 8080})
    path = f"{DEPLOYMENTS}/{deployment['id']}/promote"
    made_id = (await api.client.post(path, {"environment": "development"})).json["deployment_id"]
    made = (await api.client.get(f"{DEPLOYMENTS}/{made_id}")).json
    assert (made["spec"], made["environment_slug"], api.said) == (deployment["spec"], "development", [])


async def test_promote_defaults_and_refusals(api: Served) -> None:
    deployment = await api.deployment()
    path = f"{DEPLOYMENTS}/{deployment['id']}/promote"
    made_id = (await api.client.post(path)).json["deployment_id"]
    assert (await api.client.get(f"{DEPLOYMENTS}/{made_id}")).json["environment_slug"] == "production"
    refused = await api.client.post(path, {"strategy": "maybe", "environment": "No!", "x": 1})
    refused.problem(422, "INVALID")
    assert refused.pointers == ["/strategy", "/environment", "/x"]
    rebuilt = await api.client.post(path, {"strategy": "rebuild"})
    rebuilt.problem(409, "NO_COMMIT")


async def _was_ready(api: Served, shown: Any) -> None:
    """And has its environment's address."""
    await api.change(shown["id"], ever_ready=True)
    claim = ClaimCurrent(
        deployment_id=shown["id"],
        app_id=shown["app_id"],
        environment=shown["environment_slug"],
        version=shown["version"],
    )
    await asyncio.wrap_future(api.store.commit(claim))


async def test_rollback_and_release(api: Served) -> None:
    app_id = await api.app_id()
    first = await api.deployment(app_id, environment="production")
    path = f"/api/v1/apps/{app_id}"
    (await api.client.post(f"{path}/rollback")).problem(409, "NOTHING_TO_ROLL_BACK_TO")
    (await api.client.post(f"{path}/rollback", {"environment": "nowhere"})).problem(
        404, "ENVIRONMENT_NOT_FOUND"
    )
    (await api.client.post(f"/api/v1/apps/{NOWHERE}/rollback")).problem(404, "APP_NOT_FOUND")
    second = await api.deployment(app_id, environment="production")
    for each in (first, second):
        await _was_ready(api, each)
    answer = await api.client.post(f"{path}/rollback", {"environment": "production"})
    assert (answer.status, answer.json["message"]) == (201, "Deployment created and scheduler notified")
    made = (await api.client.get(answer.headers["location"])).json
    assert (made["id"], made["version"]) == (answer.json["deployment_id"], 3)
    shown = f"{path}/environments/production"
    assert (await api.client.get(shown)).json["held_since"] is not None
    released = await api.client.post(f"{shown}/release")
    assert released.json == {"environment_slug": "production", "released": True}
    assert (await api.client.get(shown)).json["held_since"] is None
    assert (await api.client.post(f"{shown}/release")).json["released"] is False
    (await api.client.post(f"{path}/environments/nowhere/release")).problem(404, "ENVIRONMENT_NOT_FOUND")
    (await api.client.post(f"{DEPLOYMENTS}/{NOWHERE}/promote", {})).problem(404, "DEPLOYMENT_NOT_FOUND")


async def test_the_cursor_list_neither_skips_nor_repeats_while_rows_are_added(api: Served) -> None:
    app_id = await api.app_id()
    for _ in range(5):
        await api.deployment(app_id)
    path = f"/api/v1/apps/{app_id}/deployments"
    first = (await api.client.get(f"{path}?page_size=2")).json
    assert [each["version"] for each in first["deployments"]] == [5, 4]
    assert first["next_page_token"] == "4"
    await api.deployment(app_id)
    second = (await api.client.get(f"{path}?page_size=2&page_token={first['next_page_token']}")).json
    assert [each["version"] for each in second["deployments"]] == [3, 2]
    third = (await api.client.get(f"{path}?page_size=2&page_token=2")).json
    assert ([each["version"] for each in third["deployments"]], third["next_page_token"]) == ([1], None)
    for query in ("page_size=0", "page_size=101", "page_token=x", "page_token=-1", "page=1"):
        (await api.client.get(f"{path}?{query}")).problem(422, "INVALID")


async def test_the_list_of_all(api: Served) -> None:
    one, other = await api.app_id("one"), await api.app_id("other")
    ids = [(await api.deployment(app_id))["id"] for app_id in (one, other, one)]
    everything = (await api.client.get(f"{DEPLOYMENTS}?sort_order=asc")).json
    assert [each["id"] for each in everything["data"]] == ids
    ours = (await api.client.get(f"{DEPLOYMENTS}?app_id={one.upper()}&sort_order=desc&page_size=1")).json
    assert (ours["total"], [each["id"] for each in ours["data"]]) == (2, [ids[2]])
    assert (await api.client.get(f"{DEPLOYMENTS}?app_id=x")).pointers == ["/app_id"]


# ---- long polls ---------------------------------------------------------------------------------------------


async def test_a_long_poll_returns_with_the_change(api: Served) -> None:
    deployment = await api.deployment()
    path = f"{DEPLOYMENTS}/{deployment['id']}"
    waiting = asyncio.create_task(api.client.get(f"{path}?wait=30s&revision={deployment['revision']}"))
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    await api.change(deployment["id"], phase=Phase.READY)
    answer = await asyncio.wait_for(waiting, 5)
    assert (answer.json["phase"], answer.json["revision"]) == ("ready", deployment["revision"] + 1)
    at_once = await asyncio.wait_for(api.client.get(f"{path}?wait=30s&revision={deployment['revision']}"), 5)
    assert at_once.json == answer.json


async def test_a_long_poll_without_a_change_returns_the_object(api: Served) -> None:
    deployment = await api.deployment()
    path = f"{DEPLOYMENTS}/{deployment['id']}"
    for query in ("wait=50ms", "wait=0.05&revision=99", "revision=7"):
        answer = await asyncio.wait_for(api.client.get(f"{path}?{query}"), 5)
        assert answer.json == deployment
    ahead = asyncio.create_task(api.client.get(f"{path}?wait=500ms&revision=99"))
    await asyncio.wait({ahead}, timeout=0.1)
    changed = await api.change(deployment["id"])
    assert (await ahead).json["revision"] == changed.revision, "as it is after the wait"
    for query in ("wait=61s", "wait=x", "wait=1s&revision=-1", "weit=1s"):
        (await api.client.get(f"{path}?{query}")).problem(422, "INVALID")
    assert api.actors.asked == []


async def test_who_leaves_a_long_poll_is_not_waited_for(api: Served) -> None:
    deployment = await api.deployment()
    path = f"{DEPLOYMENTS}/{deployment['id']}?wait=60s"
    loop = asyncio.get_running_loop()

    def somebody_waits() -> bool:
        return any("wait_revision" in str(task.get_coro()) for task in asyncio.all_tasks(loop))

    async with api.client.connected() as connection:
        await connection.send(api.client.request("GET", path))
        await asyncio.to_thread(eventually, somebody_waits)
    await asyncio.to_thread(eventually, lambda: not somebody_waits())


# ---- tasks --------------------------------------------------------------------------------------------------


async def test_tasks(api: Served) -> None:
    deployment, other = await api.deployment(), await api.deployment(await api.app_id("other"))
    task = await api.task(deployment, address=("127.0.0.1", 20001), pid=42)
    stopped = await api.task(deployment, phase=TaskPhase.STOPPED, slot=1)
    elsewhere = await api.task(other)
    shown = (await api.client.get(f"/api/v1/tasks/{task.id}")).json
    assert (shown["state"], shown["address"], shown["published_port"]) == (
        "running",
        "127.0.0.1:20001",
        20001,
    )

    async def ids(path: str) -> set[str]:
        return {each["id"] for each in (await api.client.get(path)).json["data"]}

    own = f"{DEPLOYMENTS}/{deployment['id']}/tasks"
    assert await ids("/api/v1/tasks") == {task.id, stopped.id, elsewhere.id}
    assert (
        await ids(own)
        == await ids(f"/api/v1/tasks?deployment_id={deployment['id']}")
        == {task.id, stopped.id}
    )
    assert await ids(own + "?state=running") == {task.id}
    assert (await api.client.get(own)).json["total"] == 2
    assert (await api.client.get(own + "?state=asleep")).pointers == ["/state"]
    assert (await api.client.get(own + f"?deployment_id={NOWHERE}")).pointers == ["/deployment_id"]


async def test_stopping_a_task(api: Served) -> None:
    task = await api.task(await api.deployment())
    path = f"/api/v1/tasks/{task.id}/stop"
    answer = await api.client.post(path)
    assert (answer.status, answer.json["state"]) == (202, "stopping")
    assert api.actors.asked == [("task", task.id, commands.Terminate())]
    (await api.client.post(f"/api/v1/tasks/{NOWHERE}/stop")).problem(404, "TASK_NOT_FOUND")
    assert (await api.client.post(path, {"grace": 1})).pointers == ["/grace"]


async def test_stopping_a_task_that_has_ended_changes_nothing(api: Served) -> None:
    task = await api.task(await api.deployment(), phase=TaskPhase.FAILED)
    answer = await api.client.post(f"/api/v1/tasks/{task.id}/stop")
    assert (answer.status, answer.json["state"], api.actors.asked) == (200, "failed", [])


async def test_a_long_poll_on_a_task(api: Served) -> None:
    task = await api.task(await api.deployment())
    path = f"/api/v1/tasks/{task.id}?wait=30s&revision={task.revision}"
    waiting = asyncio.create_task(api.client.get(path))
    await asyncio.wait({waiting}, timeout=0.1)
    await api.client.post(f"/api/v1/tasks/{task.id}/stop")
    assert (await asyncio.wait_for(waiting, 5)).json["state"] == "stopping"


async def test_a_change_may_be_bound_to_the_revision_that_was_seen(api: Served) -> None:
    made = await api.deployment()
    path, body = f"/api/v1/deployments/{made['id']}", {"spec": {"replicas": 2}}

    async def patch(revision: str) -> Any:
        return await api.client.call("PATCH", path, body, headers={"If-Match": revision})

    for stale in (str(made["revision"] + 1), '"0"', "nonsense"):
        (await patch(stale)).problem(412, "REVISION_MISMATCH")
    changed = await patch(f'"{made["revision"]}"')
    assert (changed.status, changed.json["spec"]["replicas"]) == (200, 2)
    (await patch(f'W/"{made["revision"]}"')).problem(412, "REVISION_MISMATCH")
    assert (await patch("*")).status == 200
