"""What holds for every path: who may call, how errors look, what every answer carries."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handlers.bodies import LINGER, LONGEST_JSON
from platformd.errors import Unavailable
from tests.handlers.served import Running, Served

APPS = "/api/v1/apps"
NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/v1",
        "/dashboard",
        "/api/v1/deployments/",
        "/api/v1/nowhere",
        "/api/v1/deployments/7",
        "/x%00y",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_unknown_paths_are_problems(api: Served, method: str, path: str) -> None:
    answer = await api.client.call(method, path)
    answer.problem(404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/api/v1/deployments/{NOWHERE}", "DEPLOYMENT_NOT_FOUND"),
        (f"/api/v1/deployments/{NOWHERE}/logs", "DEPLOYMENT_NOT_FOUND"),
        (f"/api/v1/deployments/{NOWHERE}/logs/stream", "DEPLOYMENT_NOT_FOUND"),
        (f"/api/v1/deployments/{NOWHERE}/tasks", "DEPLOYMENT_NOT_FOUND"),
        (f"/api/v1/apps/{NOWHERE}", "APP_NOT_FOUND"),
        (f"/api/v1/apps/{NOWHERE}/deployments", "APP_NOT_FOUND"),
        ("/api/v1/apps/default/nothing", "APP_NOT_FOUND"),
        ("/api/v1/apps/nothing", "APP_NOT_FOUND"),
        (f"/api/v1/tasks/{NOWHERE}", "TASK_NOT_FOUND"),
        (f"/api/v1/tasks/{NOWHERE}/logs", "TASK_NOT_FOUND"),
        (f"/api/v1/tasks/{NOWHERE}/logs/stream", "TASK_NOT_FOUND"),
        (f"/api/v1/artifacts/{NOWHERE}", "ARTIFACT_NOT_FOUND"),
        (f"/api/v1/artifacts/{NOWHERE}/download", "ARTIFACT_NOT_FOUND"),
    ],
)
async def test_unknown_objects(api: Served, path: str, code: str) -> None:
    (await api.client.get(path)).problem(404, code)


@pytest.mark.parametrize("action", ["cancel", "wake", "sleep"])
async def test_orders_to_unknown_deployments(api: Served, action: str) -> None:
    answer = await api.client.post(f"/api/v1/deployments/{NOWHERE}/{action}")
    answer.problem(404, "DEPLOYMENT_NOT_FOUND")
    assert api.actors.asked == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", APPS, "GET, HEAD, POST, OPTIONS"),
        ("PUT", f"/api/v1/deployments/{NOWHERE}", "GET, HEAD, PATCH, OPTIONS"),
        ("GET", f"/api/v1/deployments/{NOWHERE}/cancel", "POST, OPTIONS"),
        ("GET", f"/api/v1/artifacts/{NOWHERE}/upload", "POST, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("BREW", APPS, "GET, HEAD, POST, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(api: Served, method: str, path: str, allow: str) -> None:
    answer = await api.client.call(method, path, body=b"")
    answer.problem(405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == allow


async def test_options_and_head(api: Served) -> None:
    options = await api.client.call("OPTIONS", APPS)
    assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")
    head, get = await api.client.call("HEAD", APPS), await api.client.get(APPS)
    assert head.status == 200
    assert head.body == b""
    assert head.headers["content-length"] == get.headers["content-length"]
    missing = await api.client.call("HEAD", f"/api/v1/apps/{NOWHERE}")
    assert missing.status == 404


async def test_every_answer_says_who_it_is_and_what_it_took(api: Served) -> None:
    for path in ("/healthz", APPS, "/nothing"):
        answer = await api.client.get(path)
        assert len(answer.headers["x-request-id"]) == 36
        assert "total;dur=" in answer.headers["server-timing"]
        assert "server" not in answer.headers
    made = await api.client.post(APPS, {"name": "a"}, X_Request_Id="from.the-caller_1")
    assert made.headers["x-request-id"] == "from.the-caller_1"
    assert "db;dur=" in made.headers["server-timing"]
    deployment = await api.deployment(made.json["id"])
    cancelled = await api.client.post(f"/api/v1/deployments/{deployment['id']}/cancel")
    assert "actor;dur=" in cancelled.headers["server-timing"]


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 65, "<script>", "é"])
async def test_an_insane_request_id_is_replaced(api: Served, given: str) -> None:
    answer = await api.client.get("/healthz", X_Request_Id=given)
    assert len(answer.headers["x-request-id"]) == 36


# ---- Host and Origin ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:80", "[::1]:47080", "localhost."]
)
async def test_our_hosts(api: Served, host: str) -> None:
    assert (await api.client.get("/healthz", Host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "0.0.0.0",
        "127.0.0.1.evil",
        "localhost:x",
        "[::2]",
        "a@localhost",
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/nothing", f"/api/v1/artifacts/{NOWHERE}/upload"])
async def test_foreign_hosts(api: Served, host: str, path: str) -> None:
    method = "POST" if path.endswith("upload") else "GET"
    answer = await api.client.call(method, path, headers={"Host": host})
    assert answer.status in (400, 421)  # Tornado refuses the worst itself, without a body
    if answer.status == 421:
        answer.problem(421, "MISDIRECTED_HOST")


async def test_hosts_that_settings_add(tmp_path: Path) -> None:
    async with Running(tmp_path, host="0.0.0.0", public_host="platform.example") as served:
        for host in ("platform.example:443", "10.1.2.3", "[fe80::1]"):
            assert (await served.client.get("/healthz", Host=host)).status == 200
        (await served.client.get("/healthz", Host="evil.example")).problem(421, "MISDIRECTED_HOST")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "file://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_pages_of_other_origins_change_nothing(api: Served, headers: dict[str, str]) -> None:
    refused = await api.client.call("POST", APPS, {"name": "a"}, headers=headers)
    refused.problem(403, "FOREIGN_ORIGIN")
    assert "access-control-allow-origin" not in refused.headers
    assert (await api.client.call("GET", APPS, headers=headers)).json["total"] == 0


async def test_our_own_pages_do(api: Served) -> None:
    own = {"Origin": f"http://127.0.0.1:{api.client.port}", "Sec-Fetch-Site": "same-origin"}
    assert (await api.client.call("POST", APPS, {"name": "a"}, headers=own)).status == 201


async def test_cors_is_for_the_origins_that_were_allowed(tmp_path: Path) -> None:
    async with Running(tmp_path, cors_origin=("https://ui.example",)) as served:
        friend = {"Origin": "https://ui.example", "Sec-Fetch-Site": "cross-site"}
        made = await served.client.call("POST", APPS, {"name": "a"}, headers=friend)
        assert (made.status, made.headers["access-control-allow-origin"]) == (201, "https://ui.example")
        asked = await served.client.call("OPTIONS", APPS, headers=friend)
        assert asked.headers["access-control-allow-methods"] == "GET, HEAD, POST, OPTIONS"
        refused = await served.client.call("POST", APPS, {"name": "a"}, headers=friend)
        assert refused.headers["access-control-allow-origin"] == "https://ui.example"
        stranger = await served.client.call("OPTIONS", APPS, headers={"Origin": "https://evil.example"})
        assert "access-control-allow-methods" not in stranger.headers


# ---- bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_what_does_not_say_that_it_is_json(api: Served, headers: dict[str, str]) -> None:
    answer = await api.client.call("POST", APPS, body=b'{"name": "a"}', headers=headers)
    answer.problem(415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/merge-patch+json"]
)
async def test_what_does(api: Served, kind: str) -> None:
    answer = await api.client.call("POST", APPS, body=b'{"name": "a"}', headers={"Content-Type": kind})
    assert answer.status == 201


@pytest.mark.parametrize("body", [b"", b"{", b'{"name": NaN}', b"[" * 100_000, b'{"name":"a","name":"b"}'])
async def test_malformed_json(api: Served, body: bytes) -> None:
    answer = await api.client.call("POST", APPS, body=body, headers={"Content-Type": "application/json"})
    answer.problem(400, "MALFORMED_JSON")


async def test_a_large_body_is_refused_and_the_connection_goes_on(api: Served) -> None:
    async with api.client.connected() as connection:
        large = b'{"name": "' + b"a" * LONGEST_JSON + b'"}'
        kind = {"Content-Type": "application/json"}
        await connection.send(api.client.request("POST", APPS, body=large, headers=kind))
        (await connection.answer()).problem(413, "TOO_LARGE")
        await connection.send(api.client.request("POST", APPS, {"name": "a"}))
        assert (await connection.answer()).status == 201


async def test_a_huge_body_is_refused_before_it_comes(api: Served) -> None:
    async with api.client.connected() as connection:
        sizes = {
            "Content-Length": str(LONGEST_JSON + LINGER + 1),
            "Expect": "100-continue",
            "Content-Type": "application/json",
        }
        await connection.send(api.client.request("POST", APPS, headers=sizes))
        answer = await connection.answer()
        answer.problem(413, "TOO_LARGE")
        assert answer.headers["connection"] == "close"


async def test_an_endless_chunked_body_is_cut(api: Served) -> None:
    async with api.client.connected() as connection:
        kind = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
        await connection.send(api.client.request("POST", APPS, headers=kind))
        answered = asyncio.create_task(connection.answer())
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        with pytest.raises(ConnectionError):
            for _ in range(4 * LINGER // 0x10000):
                await connection.send(chunk)
        with contextlib.suppress(
            ConnectionError
        ):  # the reset may overtake the answer of who never stops sending
            (await answered).problem(413, "TOO_LARGE")


async def test_a_large_head(api: Served) -> None:
    answer = await api.client.get("/healthz", X_Padding="x" * (65 << 10))
    answer.problem(431, "HEADER_TOO_LARGE")
    answer = await api.client.get("/healthz?" + "x" * (9 << 10))
    answer.problem(431, "HEADER_TOO_LARGE")


async def test_a_client_that_leaves_in_its_body_leaves_nothing(api: Served) -> None:
    async with api.client.connected() as connection:
        await connection.send(api.client.request("POST", APPS, {"name": "a"})[:-3])
    assert (await api.client.get(APPS)).json["total"] == 0


# ---- failures -----------------------------------------------------------------------------------------------


async def test_an_unforeseen_error_tells_nothing(api: Served) -> None:
    deployment = await api.deployment()
    api.actors.fail = RuntimeError("the secret is 12345")
    answer = await api.client.post(f"/api/v1/deployments/{deployment['id']}/cancel")
    answer.problem(500, "INTERNAL")
    assert b"12345" not in answer.body


async def test_a_full_mailbox_says_when_to_come_back(api: Served) -> None:
    deployment = await api.deployment()
    api.actors.fail = Unavailable("the mailbox is full", code="MAILBOX_FULL", retry_after=3)
    answer = await api.client.post(f"/api/v1/deployments/{deployment['id']}/wake")
    answer.problem(503, "MAILBOX_FULL")
    assert answer.headers["retry-after"] == "3"


async def test_while_recovering_reads_work_and_writes_wait(api: Served) -> None:
    api.state["recovering"] = True
    (await api.client.post(APPS, {"name": "a"})).problem(503, "RECOVERING")
    assert (await api.client.get(APPS)).status == 200
    api.state["recovering"] = False
    assert (await api.client.post(APPS, {"name": "a"})).status == 201


async def test_system(api: Served) -> None:
    assert (await api.client.get("/healthz")).json == {"status": "ok"}
    assert (await api.client.get("/api/v1/version")).json == {"version": "1.2.3", "api": "v1"}
    assert (await api.client.get("/readyz")).json == {"ready": True, "status": "ok", "checks": {}}
    checks = {"gateway": {"status": "unready", "detail": "starting"}, "store": {"status": "ok"}}
    api.state |= {"ready": False, "status": "unready", "checks": checks}
    problem = (await api.client.get("/readyz")).problem(503, "NOT_READY")
    assert "gateway: starting" in problem["detail"]
    (await api.client.get("/healthz?x=1")).problem(422, "INVALID")


async def test_an_asker_that_never_answers_is_told_so(tmp_path: Path) -> None:
    async def ask(kind: str, id: str, command: object) -> Any:
        raise TimeoutError

    async with Running(tmp_path, lambda context: replace(context, ask=ask)) as served:
        deployment = await served.deployment()
        answer = await served.client.post(f"/api/v1/deployments/{deployment['id']}/wake")
        answer.problem(500, "INTERNAL")


# ---- validators ---------------------------------------------------------------------------------------------


async def test_an_answer_that_is_known_is_not_sent_again(api: Served) -> None:
    path = f"/api/v1/apps/{await api.app_id()}"
    first = await api.client.get(path)
    etag = first.headers["etag"]
    assert etag.startswith('W/"')
    for given in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        unchanged = await api.client.get(path, If_None_Match=given)
        assert (unchanged.status, unchanged.body) == (304, b""), given
        assert unchanged.headers["etag"] == etag
        assert "content-type" not in unchanged.headers
    await api.client.call("PUT", path, {"description": "new"})
    changed = await api.client.get(path, If_None_Match=etag)
    assert (changed.status, changed.json["description"]) == (200, "new")
    assert changed.headers["etag"] != etag


async def test_lists_heads_and_bare_arrays_have_validators_too(api: Served) -> None:
    deployment = await api.deployment()
    for path in ("/api/v1/apps", f"/api/v1/deployments/{deployment['id']}/logs", "/healthz"):
        etag = (await api.client.get(path)).headers["etag"]
        assert (await api.client.call("HEAD", path)).headers["etag"] == etag
        assert (await api.client.get(path, If_None_Match=etag)).status == 304


async def test_problems_metrics_and_changes_have_none(api: Served) -> None:
    made = await api.client.post("/api/v1/apps", {"name": "one"})
    missing = await api.client.get("/api/v1/nothing", If_None_Match="*")
    assert missing.status == 404
    for answer in (made, missing, await api.client.get("/metrics")):
        assert "etag" not in answer.headers


async def test_what_has_no_revision_has_no_present_one(api: Served) -> None:
    app_id = await api.app_id()
    await api.client.post(f"/api/v1/apps/{app_id}/environments", {"slug": "staging"})
    domain = {"domain": "a.example.com", "environment": "production"}
    registry = {"host": "r.example.com", "username": "me", "password": "secret"}
    places = [
        f"/api/v1/apps/{app_id}/environments/staging",
        f"/api/v1/artifacts/{(await api.client.post('/api/v1/artifacts', {'name': 'x'})).json['id']}",
        (await api.client.post(f"/api/v1/apps/{app_id}/custom-domains", domain)).headers["location"],
        (await api.client.post(f"/api/v1/apps/{app_id}/registries", registry)).headers["location"],
    ]
    for place in places:
        refused = await api.client.call("DELETE", place, headers={"If-Match": '"1"'})
        refused.problem(412, "REVISION_MISMATCH")
        assert (await api.client.call("DELETE", place, headers={"If-Match": "*"})).status == 204


async def test_a_token_is_revoked_at_the_revision_that_was_seen(api: Served) -> None:
    place = (await api.client.post("/api/v1/tokens", {"name": "ci"})).headers["location"]
    for wrong, right in (("2", False), ("1", True)):
        answer = await api.client.call("DELETE", place, headers={"If-Match": wrong})
        assert answer.status == (204 if right else 412)
    assert (await api.client.get(place)).json["revision"] == 2
