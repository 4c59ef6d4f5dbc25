"""`Idempotency-Key`: sent again is answered again, and done once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from handlers.apps import AppsHandler
from handlers.context import Context
from platformd.domain import commands
from platformd.domain.retries import KeepAnswer
from platformd.domain.token import CreateToken, Scope, digest
from platformd.errors import NoSpace, Unavailable
from tests.handlers.client import Answer
from tests.handlers.served import SCRIPT, Running, Served

APPS = "/api/v1/apps"
KEY = {"Idempotency-Key": "a key"}
AT = datetime(2026, 1, 2, tzinfo=UTC)


async def post(served: Served, path: str, body: Any = None, **more: str) -> Answer:
    return await served.client.call("POST", path, body, headers=KEY | more)


async def apps(served: Served) -> int:
    return int((await served.client.get(APPS)).json["total"])


async def test_a_creation_is_answered_again_as_it_was(api: Served) -> None:
    first = await post(api, APPS, {"name": "shop"})
    await api.client.call("PUT", first.headers["location"], {"description": "changed since"})
    again = await post(api, APPS, {"name": "shop"})
    assert (first.status, "idempotency-replayed" in first.headers) == (201, False)
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["content-type"] == "application/json"
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert await apps(api) == 1


async def test_fifty_at_once_are_one_creation_and_one_answer(api: Served) -> None:
    app_id = await api.app_id()
    body = {"artifact_id": await api.artifact_id()}
    path = f"{APPS}/{app_id}/deployments"
    found = await asyncio.gather(*(post(api, path, body) for _ in range(50)))
    assert {answer.status for answer in found} == {201}
    assert len({(answer.body, answer.headers["location"]) for answer in found}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in found) == 1
    assert len((await api.client.get(path)).json["deployments"]) == 1


async def test_another_body_or_query_with_the_key_is_refused(api: Served) -> None:
    await post(api, APPS, {"name": "one"})
    (await post(api, APPS, {"name": "two"})).problem(422, "IDEMPOTENCY_KEY_REUSED")
    (await post(api, f"{APPS}?x=1", {"name": "one"})).problem(422, "IDEMPOTENCY_KEY_REUSED")
    assert await apps(api) == 1


async def test_another_body_is_refused_while_the_first_is_in_flight(api: Served) -> None:
    found = await asyncio.gather(*(post(api, APPS, {"name": f"app-{number}"}) for number in range(5)))
    assert sorted(answer.status for answer in found) == [201, 422, 422, 422, 422]
    assert await apps(api) == 1


async def test_a_key_belongs_to_one_path(api: Served) -> None:
    assert (await post(api, APPS, {"name": "one"})).status == 201
    assert (await post(api, "/api/v1/artifacts", {"name": "one"})).status == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
async def test_what_is_no_key_is_refused(api: Served, key: str) -> None:
    answer = await api.client.call("POST", APPS, {"name": "one"}, headers={"Idempotency-Key": key})
    answer.problem(422, "INVALID")
    assert answer.pointers == ["/Idempotency-Key"]
    assert await apps(api) == 0


async def test_a_key_belongs_to_a_token(tmp_path: Path) -> None:
    async with Running(tmp_path, require_token=True) as served:
        for secret in ("mine", "yours"):
            made = CreateToken(
                name=secret, scope=Scope.DEPLOY, app_id=None, digest=digest(secret), prefix="p", at=AT
            )
            served.store.commit(made).result()
        mine = await post(served, APPS, {"name": "mine"}, Authorization="Bearer mine")
        yours = await post(served, APPS, {"name": "yours"}, Authorization="Bearer yours")
        assert (mine.json["name"], yours.json["name"]) == ("mine", "yours")
        (await post(served, APPS, {"name": "mine"})).problem(401, "TOKEN_REQUIRED")


async def test_a_conflict_is_answered_again_and_other_failures_are_tried_again(api: Served) -> None:
    taken = await api.app_id("taken")
    first = await post(api, APPS, {"name": "taken"})
    first.problem(409, "SUBDOMAIN_TAKEN")
    await api.client.call("DELETE", f"{APPS}/{taken}")
    again = await post(api, APPS, {"name": "taken"})
    assert (again.status, again.body) == (409, first.body)
    assert again.headers["content-type"] == "application/problem+json"

    deployment = await api.deployment()
    path = f"/api/v1/deployments/{deployment['id']}/wake"
    api.actors.fail = Unavailable("not now", code="MAILBOX_FULL")
    (await post(api, path)).problem(503, "MAILBOX_FULL")
    assert (await post(api, path)).status == 202


async def test_after_bad_input_the_key_is_free(api: Served) -> None:
    (await post(api, APPS, {"name": ""})).problem(422, "INVALID")
    assert (await post(api, APPS, {"name": "good"})).status == 201


async def test_an_order_is_given_once(api: Served) -> None:
    deployment = await api.deployment()
    path = f"/api/v1/deployments/{deployment['id']}/restart"
    found = await asyncio.gather(*(post(api, path) for _ in range(10)))
    assert {(answer.status, answer.body) for answer in found} == {(202, found[0].body)}
    assert [order.command for _, _, order in api.actors.asked] == [commands.Restart()]


async def test_a_promotion_happens_once(api: Served) -> None:
    deployment = await api.deployment()
    path = f"/api/v1/deployments/{deployment['id']}/promote"
    found = await asyncio.gather(*(post(api, path) for _ in range(10)))
    assert len({answer.json["deployment_id"] for answer in found}) == 1


async def test_a_key_is_kept_for_a_day(api: Served) -> None:
    with freeze_time(AT, real_asyncio=True) as frozen:
        await post(api, APPS, {"name": "one"})
        frozen.tick(timedelta(hours=23, minutes=59))
        assert (await post(api, APPS, {"name": "one"})).status == 201
        frozen.tick(timedelta(minutes=1))
        (await post(api, APPS, {"name": "one"})).problem(409, "SUBDOMAIN_TAKEN")


async def test_without_a_key_every_request_acts(api: Served) -> None:
    for _ in range(2):
        assert (await api.client.post("/api/v1/artifacts", {"name": "x"})).status == 201
    assert (await api.client.get("/api/v1/artifacts")).json["total"] == 2


# ---- what is shown once -------------------------------------------------------------------------------------


async def test_a_token_is_made_once_and_its_secret_shown_once(api: Served) -> None:
    first = await post(api, "/api/v1/tokens", {"name": "ci"})
    again = await post(api, "/api/v1/tokens", {"name": "ci"})
    assert (again.status, again.headers["location"]) == (201, first.headers["location"])
    assert again.json == {name: value for name, value in first.json.items() if name != "token"}
    assert first.json["token"] not in str(rows(api))


async def test_a_ticket_is_shown_once(api: Served) -> None:
    first = await post(api, "/api/v1/stream-tickets")
    again = await post(api, "/api/v1/stream-tickets")
    assert "ticket" in first.json
    assert again.json == {"expires_at": first.json["expires_at"]}
    assert first.json["ticket"] not in str(rows(api))


def rows(served: Served) -> list[Any]:
    return served.store.reader.rows("SELECT * FROM request_keys")


# ---- what ends with the server ------------------------------------------------------------------------------


@pytest.fixture
async def forgetful(tmp_path: Path) -> AsyncIterator[Served]:
    """A server whose answers are never kept, as if it had ended each time before it could."""
    async with Running(tmp_path, _unkept) as served:
        yield served


def _unkept(context: Context) -> Context:
    class Unkept:
        def under(self, key: Any) -> Any:
            return context.configuration.under(key)

        async def commit(self, operation: Any) -> Any:
            if isinstance(operation, KeepAnswer):
                raise NoSpace("the disk is full")
            return await context.configuration.commit(operation)

    return replace(context, configuration=Unkept())  # type: ignore[arg-type]


async def test_what_was_made_is_found_again_when_its_answer_was_not_kept(forgetful: Served) -> None:
    served = forgetful
    first = await post(served, APPS, {"name": "one"})
    again = await post(served, APPS, {"name": "one"})
    assert (again.status, again.json) == (201, first.json)
    (await post(served, APPS, {"name": "two"})).problem(422, "IDEMPOTENCY_KEY_REUSED")
    assert await apps(served) == 1


CREATIONS: dict[str, Callable[[str], tuple[str, Any]]] = {
    "artifact": lambda _: ("/api/v1/artifacts", {"name": "x"}),
    "environment": lambda app_id: (f"{APPS}/{app_id}/environments", {"slug": "staging"}),
    "domain": lambda app_id: (
        f"{APPS}/{app_id}/custom-domains",
        {"domain": "a.example.com", "environment": "production"},
    ),
    "registry": lambda app_id: (
        f"{APPS}/{app_id}/registries",
        {"host": "r.example.com", "username": "me", "password": "secret"},
    ),
}


@pytest.mark.parametrize("kind", CREATIONS)
async def test_every_creation_is_found_again(forgetful: Served, kind: str) -> None:
    path, body = CREATIONS[kind](await forgetful.app_id())
    first, again = [await post(forgetful, path, body) for _ in range(2)]
    assert (first.status, again.status) == (201, 201)
    assert again.json == first.json
    assert again.headers["location"] == first.headers["location"]


async def test_the_secret_of_a_token_that_is_found_again_is_gone(forgetful: Served) -> None:
    first, again = [await post(forgetful, "/api/v1/tokens", {"name": "ci"}) for _ in range(2)]
    assert again.json["id"] == first.json["id"]
    assert ("token" in first.json, "token" in again.json) == (True, False)


async def test_fifty_at_once_are_one_creation_even_when_no_answer_is_kept(forgetful: Served) -> None:
    found = await asyncio.gather(*(post(forgetful, APPS, {"name": "one"}) for _ in range(50)))
    assert {(answer.status, answer.json["id"]) for answer in found} == {(201, found[0].json["id"])}


async def test_a_key_is_kept_with_its_object_or_not_at_all(api: Served) -> None:
    await api.app_id("taken")
    (await post(api, APPS, {"name": "taken"})).problem(409, "SUBDOMAIN_TAKEN")
    assert [row[3] for row in rows(api)] == [None]


# ---- uploads ------------------------------------------------------------------------------------------------


async def upload(served: Served, artifact_id: str, body: bytes = SCRIPT, **more: str) -> Answer:
    path = f"/api/v1/artifacts/{artifact_id}/upload"
    return await served.client.call("POST", path, body=body, headers=KEY | more)


async def announced(served: Served) -> str:
    return str((await served.client.post("/api/v1/artifacts", {"name": "x"})).json["id"])


async def test_an_upload_is_answered_again(api: Served) -> None:
    await upload_again(api)


async def test_an_upload_whose_answer_was_not_kept_is_answered_again(forgetful: Served) -> None:
    await upload_again(forgetful)


async def upload_again(served: Served) -> None:
    artifact_id = await announced(served)
    first = await upload(served, artifact_id)
    again = await upload(served, artifact_id)
    assert (first.status, again.status) == (200, 200)
    assert again.json == first.json
    (await upload(served, artifact_id, b"#!/bin/other")).problem(422, "IDEMPOTENCY_KEY_REUSED")
    without = await served.client.call("POST", f"/api/v1/artifacts/{artifact_id}/upload", body=SCRIPT)
    without.problem(409, "ARTIFACT_COMPLETE")


async def test_uploads_at_once_are_one_upload(api: Served) -> None:
    artifact_id = await announced(api)
    found = await asyncio.gather(*(upload(api, artifact_id, SCRIPT * 10_000) for _ in range(10)))
    assert {(answer.status, answer.body) for answer in found} == {(200, found[0].body)}


async def test_an_upload_that_breaks_off_leaves_the_key_free(api: Served) -> None:
    artifact_id = await announced(api)
    path = f"/api/v1/artifacts/{artifact_id}/upload"
    async with api.client.connected() as connection:
        whole = api.client.request("POST", path, body=SCRIPT * 1000, headers=KEY)
        await connection.send(whole[: len(whole) // 2])
        second = asyncio.create_task(upload(api, artifact_id))
        await asyncio.wait({second}, timeout=0.2)
        assert not second.done()
    assert (await second).json["size"] == len(SCRIPT)


async def test_an_upload_that_does_not_match_may_be_sent_again(api: Served) -> None:
    artifact_id = await announced(api)
    wrong = {"X-Content-SHA256": "0" * 64}
    (await upload(api, artifact_id, **wrong)).problem(422, "INVALID")
    assert (await upload(api, artifact_id)).status == 200


# ---- clients that leave -------------------------------------------------------------------------------------


async def test_what_was_given_up_with_its_client_is_no_answer(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that is waited for no longer than its client waits: nothing is kept, the next one does it."""
    post_app, begun = AppsHandler.post, asyncio.Event()

    async def for_ever(handler: AppsHandler) -> None:
        begun.set()
        await handler.unless_closed(asyncio.Event().wait())

    for_ever.operation = post_app.operation  # type: ignore[attr-defined]
    monkeypatch.setattr(AppsHandler, "post", for_ever)
    async with api.client.connected() as connection:
        await connection.send(api.client.request("POST", APPS, {"name": "one"}, headers=KEY))
        await begun.wait()
    monkeypatch.setattr(AppsHandler, "post", post_app)
    made = await post(api, APPS, {"name": "one"})
    assert (made.status, made.json["name"]) == (201, "one")


async def test_a_request_whose_client_left_is_answered_to_the_next(api: Served) -> None:
    async with api.client.connected() as connection:
        await connection.send(api.client.request("POST", APPS, {"name": "one"}, headers=KEY))
    assert (await post(api, APPS, {"name": "one"})).status == 201
    assert await apps(api) == 1
