"""Who may call: tokens, scopes, apps they are bound to, tickets for streams."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from handlers import authentication
from handlers.base import Handler
from handlers.operation import operation_of
from handlers.routes import ROUTES
from platformd.domain.token import CreateToken, RevokeToken, Scope, digest
from tests.handlers.client import EventSource
from tests.handlers.served import Running, Served

AT = datetime(2026, 1, 2, tzinfo=UTC)
TOKENS = "/api/v1/tokens"
NOWHERE = "00000000-0000-4000-8000-000000000000"
_LOOKAHEAD = re.compile(r"\(\?!.*?/\)")
_GROUP = re.compile(r"\([^)]*\)")
METHODS = [
    (path, kind, method)
    for path, kind in ROUTES
    for method in kind.allowed_methods()
    if method not in ("HEAD", "OPTIONS")
]


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Served]:
    """A server that asks everybody for a token."""
    async with Running(tmp_path, require_token=True) as served:
        yield served


def token(served: Served, scope: Scope, app_id: str | None = None, secret: str | None = None) -> str:
    secret = secret or f"secret-{scope}-{app_id}"
    made = CreateToken(name="t", scope=scope, app_id=app_id, digest=digest(secret), prefix="p", at=AT)
    served.store.commit(made).result()
    return secret


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def call(
    served: Served, method: str, path: str, secret: str | None = None, body: Any = None, **headers: str
) -> Any:
    sent = (bearer(secret) if secret else {}) | headers
    return await served.client.call(method, path, body, headers=sent)


def concrete(pattern: str) -> str:
    """A path that the pattern fits."""
    return _GROUP.sub(
        lambda group: NOWHERE if "{12}" in group[0] else "style", _LOOKAHEAD.sub("", pattern)
    ).replace("\\", "")


@pytest.mark.parametrize(("pattern", "kind", "method"), METHODS)
async def test_without_a_token_nothing_but_health_is_open(
    closed: Served, pattern: str, kind: type[Handler], method: str
) -> None:
    declared = operation_of(kind, method)
    assert declared is not None
    answer = await call(closed, method, concrete(pattern))
    if declared.scope is None:
        assert answer.status != 401
    else:
        answer.problem(401, "TOKEN_REQUIRED")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("headers", [bearer("s"), {"X-API-Key": "s"}, {"Authorization": "bearer  s"}])
async def test_both_ways_of_showing_a_token(closed: Served, headers: dict[str, str]) -> None:
    token(closed, Scope.READ, secret="s")
    assert (await call(closed, "GET", "/api/v1/apps", **headers)).status == 200


@pytest.mark.parametrize("headers", [bearer("wrong"), {"X-API-Key": ""}, {"Authorization": "Basic dTpw"}])
async def test_a_token_that_is_sent_is_checked_on_an_open_server_too(
    api: Served, headers: dict[str, str]
) -> None:
    assert (await api.client.get("/api/v1/apps")).status == 200
    (await call(api, "GET", "/api/v1/apps", **headers)).problem(401, "TOKEN_INVALID")
    assert (await call(api, "GET", "/healthz", **headers)).status == 200


async def test_scopes(closed: Served) -> None:
    read, deploy, admin = (token(closed, scope) for scope in Scope)
    assert (await call(closed, "GET", "/api/v1/apps", read)).status == 200
    problem = (await call(closed, "POST", "/api/v1/apps", read, {"name": "a"})).problem(
        403, "SCOPE_TOO_NARROW"
    )
    assert "deploy" in problem["detail"]
    assert (await call(closed, "POST", "/api/v1/apps", deploy, {"name": "a"})).status == 201
    (await call(closed, "GET", TOKENS, deploy)).problem(403, "SCOPE_TOO_NARROW")
    assert (await call(closed, "GET", TOKENS, admin)).status == 200


async def test_a_token_is_made_used_listed_and_revoked(closed: Served) -> None:
    admin = token(closed, Scope.ADMIN)
    made = await call(closed, "POST", TOKENS, admin, {"name": "ci", "scope": "read"})
    assert made.status == 201
    secret, id = made.json["token"], made.json["id"]
    assert made.headers["location"] == f"{TOKENS}/{id}" and secret.startswith(made.json["prefix"])
    assert (await call(closed, "GET", "/api/v1/apps", secret)).status == 200
    token(closed, Scope.DEPLOY)  # stored after what was noted of the use
    listed = (await call(closed, "GET", TOKENS, admin)).json
    assert listed["total"] == 3
    [shown] = [one for one in listed["data"] if one["id"] == id]
    assert shown["name"] == "ci" and shown["last_used_at"] is not None
    assert secret not in str(listed) and digest(secret) not in str(listed)
    assert (await call(closed, "DELETE", f"{TOKENS}/{id}", admin)).status == 204
    (await call(closed, "GET", "/api/v1/apps", secret)).problem(401, "TOKEN_INVALID")
    assert (await call(closed, "GET", f"{TOKENS}/{id}", admin)).json["revoked_at"] is not None
    (await call(closed, "DELETE", f"{TOKENS}/{NOWHERE}", admin)).problem(404, "TOKEN_NOT_FOUND")


async def test_bad_tokens_name_every_fault(api: Served) -> None:
    bad = {"name": "", "scope": "root", "app_id": "x", "more": 1}
    problem = (await api.client.post(TOKENS, bad)).problem(422, "INVALID")
    assert {fault["pointer"] for fault in problem["errors"]} == {"/name", "/scope", "/app_id", "/more"}
    (await api.client.post(TOKENS, {"name": "n", "app_id": NOWHERE})).problem(404, "APP_NOT_FOUND")


async def test_a_bound_token_sees_and_changes_its_own_app_only(api: Served) -> None:
    mine, other = await api.app_id("mine"), await api.app_id("other")
    one, two = await api.deployment(mine), await api.deployment(other)
    task = await api.task(two)
    bound = token(api, Scope.ADMIN, mine)
    for path, ours in (("apps", "id"), ("deployments", "app_id"), ("tasks", "app_id")):
        listed = (await call(api, "GET", f"/api/v1/{path}", bound)).json
        assert all(found[ours] == mine for found in listed["data"]), path
    assert (await call(api, "GET", f"/api/v1/deployments/{one['id']}", bound)).status == 200
    assert (await call(api, "GET", f"/api/v1/apps/{mine}/env", bound)).status == 200
    refused = [
        ("GET", f"/api/v1/apps/{other}"),
        ("GET", "/api/v1/apps/default/other"),
        ("GET", "/api/v1/apps/by-subdomain/other-default"),
        ("GET", f"/api/v1/deployments/{two['id']}"),
        ("GET", f"/api/v1/deployments?app_id={other}"),
        ("GET", f"/api/v1/deployments/{two['id']}/logs"),
        ("GET", f"/api/v1/events?app_id={other}"),
        ("GET", f"/api/v1/tasks/{task.id}"),
        ("GET", "/api/v1/artifacts"),
        ("GET", TOKENS),
        ("GET", "/api/v1/nodes"),
        ("GET", "/api/v1/dead-letters"),
        ("POST", f"/api/v1/deployments/{two['id']}/cancel"),
        ("POST", f"/api/v1/tasks/{task.id}/stop"),
    ]
    for method, path in refused:
        (await call(api, method, path, bound)).problem(403, "TOKEN_BOUND_TO_APP")
    (await call(api, "POST", "/api/v1/apps", bound, {"name": "new"})).problem(403, "TOKEN_BOUND_TO_APP")
    assert api.actors.asked == []
    assert (await call(api, "POST", "/api/v1/artifacts", bound, {"name": "b"})).status == 201


async def test_readyz_keeps_its_reasons_from_strangers(closed: Served) -> None:
    closed.state["checks"] = {"store": {"status": "ok"}}
    assert (await call(closed, "GET", "/readyz")).json["checks"] == {}
    assert (await call(closed, "GET", "/readyz", "wrong")).json["checks"] == {}
    read = token(closed, Scope.READ)
    assert (await call(closed, "GET", "/readyz", read)).json["checks"] == {"store": {"status": "ok"}}


async def test_a_browser_without_a_token_gets_the_page_that_asks_for_one(closed: Served) -> None:
    async with closed.client.connected() as connection:  # for once no problem as JSON
        await connection.send(closed.client.request("GET", "/", headers={"Accept": "text/html,*/*"}))
        answer = await connection.answer()
    assert answer.status == 401 and answer.headers["content-type"].startswith("text/html")
    assert b"main.js" in answer.body
    (await call(closed, "GET", "/")).problem(401, "TOKEN_REQUIRED")
    assert (await call(closed, "GET", "/dashboard/main.js")).status == 200
    assert (await call(closed, "GET", "/", token(closed, Scope.READ))).status == 200


async def test_streams_take_the_token_in_the_query_and_nothing_else_does(closed: Served) -> None:
    read = token(closed, Scope.READ)
    accept = {"Accept": "application/json"}
    assert (await call(closed, "GET", f"/api/v1/events?access_token={read}", **accept)).status == 200
    (await call(closed, "GET", "/api/v1/events?access_token=no", **accept)).problem(401, "TOKEN_INVALID")
    (await call(closed, "GET", f"/api/v1/apps?access_token={read}")).problem(401, "TOKEN_REQUIRED")


async def test_a_ticket_opens_one_stream(closed: Served) -> None:
    read = token(closed, Scope.READ)
    made = await call(closed, "POST", "/api/v1/stream-tickets", read)
    path = f"/api/v1/events?ticket={made.json['ticket']}"
    assert made.status == 201
    assert (await call(closed, "GET", path, Accept="application/json")).status == 200
    (await call(closed, "GET", path, Accept="application/json")).problem(401, "TICKET_INVALID")


async def test_a_ticket_is_good_for_a_minute_and_as_long_as_its_token(
    closed: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = token(closed, Scope.READ)
    late = (await call(closed, "POST", "/api/v1/stream-tickets", read)).json["ticket"]
    now = authentication.clock.monotonic
    monkeypatch.setattr(authentication.clock, "monotonic", lambda: now() + 61)
    (await call(closed, "GET", f"/api/v1/events?ticket={late}")).problem(401, "TICKET_INVALID")
    orphan = (await call(closed, "POST", "/api/v1/stream-tickets", read)).json["ticket"]
    found = closed.context.tokens.by_secret(read)
    assert found is not None
    closed.store.commit(RevokeToken(id=found.id, at=AT)).result()
    (await call(closed, "GET", f"/api/v1/events?ticket={orphan}")).problem(401, "TICKET_INVALID")


async def test_a_stream_ends_when_its_token_is_revoked(closed: Served) -> None:
    read = token(closed, Scope.READ)
    async with closed.client.connected() as connection:
        await connection.send(closed.client.request("GET", "/api/v1/events", headers=bearer(read)))
        await connection.head()
        found = closed.context.tokens.by_secret(read)
        assert found is not None
        closed.store.commit(RevokeToken(id=found.id, at=AT)).result()
        source = EventSource(connection)
        async with asyncio.timeout(5):
            event = await source.next()
            assert event.name == "revoked" and "revoked" in event.data["detail"]
            with pytest.raises(EOFError):
                await source.next()


async def test_use_is_noted_once_in_a_while(closed: Served) -> None:
    read = token(closed, Scope.READ)
    with freeze_time("2026-03-04", real_asyncio=True):
        await call(closed, "GET", "/api/v1/apps", read)
    with freeze_time("2026-03-04 00:00:05", real_asyncio=True):
        await call(closed, "GET", "/api/v1/apps", read)
    closed.store.commit(RevokeToken(id=_only(closed), at=AT)).result()
    assert closed.context.tokens.token(_only(closed))["last_used_at"] == "2026-03-04T00:00:00.000Z"


def _only(served: Served) -> str:
    from platformd.store import Page

    [found] = served.context.tokens.page(Page())["data"]
    return str(found["id"])
