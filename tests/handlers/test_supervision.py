"""Actors, dead letters and nodes over HTTP."""

from __future__ import annotations

import pytest

from actors.inspection import Inspection
from actors.messages import DeadLetter, Key, Reason
from handlers.authentication import Authentication
from handlers.callers import Caller
from handlers.operation import Scope
from platformd import clock
from platformd.domain.task import TaskPhase
from tests.handlers.served import Served

MISSING = "deployment:00000000-0000-0000-0000-000000000000"


async def test_what_is_only_a_row_is_dormant(api: Served) -> None:
    made = [await api.deployment(await api.app_id(f"app-{n}")) for n in range(3)]
    await api.finish(made[0]["id"])
    answer = await api.client.get("/api/v1/actors?page_size=1&page=2")
    assert answer.json["total"] == 2
    assert [actor["id"] for actor in answer.json["data"]] == [made[2]["id"]]
    (actor,) = answer.json["data"]
    assert (actor["state"], actor["key"]) == ("dormant", f"deployment:{made[2]['id']}")
    assert (await api.client.get("/api/v1/actors?kind=task")).json["total"] == 0
    assert (await api.client.get("/api/v1/actors?state=quarantined")).json["total"] == 0
    assert (await api.client.get("/api/v1/actors?state=asleep")).status == 422
    one = await api.client.get(f"/api/v1/actors/{actor['key']}")
    assert one.json == actor


async def test_a_task_names_its_deployment(api: Served) -> None:
    deployment = await api.deployment()
    task = await api.task(deployment, phase=TaskPhase.STOPPED)
    answer = await api.client.get(f"/api/v1/actors/task:{task.id}")
    assert answer.json["parent"] == f"deployment:{deployment['id']}"


@pytest.mark.parametrize("verb", ["restart", "resume"])
async def test_unknown_actors(api: Served, verb: str) -> None:
    for key in (MISSING, "deployment", "shop:1", "task:x"):
        assert (await api.client.get(f"/api/v1/actors/{key}")).json["code"] == "ACTOR_NOT_FOUND"
        refused = await api.client.post(f"/api/v1/actors/{key}/{verb}")
        assert (refused.status, refused.json["code"]) == (404, "ACTOR_NOT_FOUND")


async def test_only_what_is_quarantined_can_be_resumed(api: Served) -> None:
    deployment = await api.deployment()
    refused = await api.client.post(f"/api/v1/actors/deployment:{deployment['id']}/resume")
    assert (refused.status, refused.json["code"]) == (409, "INVALID_STATE")


async def test_dead_letters_come_newest_first_without_secrets(api: Served) -> None:
    supervision = api.context.supervision
    assert isinstance(supervision, Inspection)
    for n in range(3):
        message = {"env": {"PASSWORD": "hunter22"}, "n": n}
        supervision._letters(
            DeadLetter(Key("task", "t"), message, Reason.FAILED, "KeyError: hunter22", "", clock.now())
        )
    answer = await api.client.get("/api/v1/dead-letters?page_size=2")
    assert (answer.json["total"], [kept["content"]["n"] for kept in answer.json["data"]]) == (3, [2, 1])
    assert b"hunter22" not in answer.body


async def test_tokens_of_one_app_see_their_actors_only(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = await api.app_id("mine"), await api.app_id("other")
    own, foreign = await api.deployment(mine), await api.deployment(other)
    bound = Caller(Scope.ADMIN, "token", mine)
    monkeypatch.setattr(Authentication, "admit", lambda *_: bound)
    listed = await api.client.get("/api/v1/actors")
    assert [actor["id"] for actor in listed.json["data"]] == [own["id"]]
    assert (await api.client.get(f"/api/v1/actors/deployment:{own['id']}")).status == 200
    assert (await api.client.get(f"/api/v1/actors/deployment:{foreign['id']}")).status == 403
    assert (await api.client.post(f"/api/v1/actors/deployment:{foreign['id']}/restart")).status == 403
    assert (await api.client.get("/api/v1/dead-letters")).status == 403


async def test_this_machine_is_the_node(api: Served) -> None:
    (node,) = (await api.client.get("/api/v1/nodes")).json["data"]
    assert node["id"] == "local"
    assert node["cpus"] >= 1
    assert node["memory"]["total"] > node["memory"]["available"] > 0
    assert node["capabilities"]["cgroups"] == {"available": False, "detail": "none here"}
