"""Trees that are sent to be built: taken whole or not at all, each for one build."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from handlers.operation import ARCHIVE
from tests.handlers.client import Answer
from tests.handlers.served import Running, Served
from tests.support import eventually

BUILDS = "/api/v1/builds"
TREE = b"what it holds is looked at when it is built"
DIGEST = hashlib.sha256(TREE).hexdigest()
SOURCE = {
    "type": "github",
    "repository": "octo/tiny",
    "build": {"kind": "command", "command": "make", "artifact_path": "server"},
}


async def app_with_source(api: Served, name: str = "my-api") -> str:
    app_id = await api.app_id(name)
    assert (await api.client.call("PUT", f"/api/v1/apps/{app_id}/source", SOURCE)).status == 200
    return app_id


async def send(api: Served, query: str, body: bytes = TREE, **headers: str) -> Answer:
    sent = {"Content-Type": "application/x-tar"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.client.call("POST", f"{BUILDS}?{query}", body=body, headers=sent)


def kept(api: Served) -> list[str]:
    """The archives that lie there, unfinished ones included."""
    return sorted(path.name for path in (api.logs_root.parent / "trees").iterdir())


async def count(api: Served) -> int:
    return int((await api.client.get(BUILDS)).json["total"])


@pytest.mark.parametrize("media_type", [*ARCHIVE.types, "Application/GZIP; charset=binary"])
async def test_an_archive_is_kept_for_its_build(api: Served, media_type: str) -> None:
    app_id = await app_with_source(api)
    answer = await send(api, f"app_id={app_id.upper()}&environment=staging", Content_Type=media_type)
    assert answer.status == 202, answer
    build = answer.json
    assert answer.headers["location"] == f"{BUILDS}/{build['id']}"
    assert (build["upload"], build["state"], build["environment_slug"]) == (DIGEST, "queued", "staging")
    assert (build["repository"], build["branch"], build["ref"]) == (None, None, None)
    assert kept(api) == [DIGEST]
    assert api.context.trees.tidy() == 0, "its build needs it"


async def test_it_fills_in_the_deployment_it_names(api: Served) -> None:
    app_id = await app_with_source(api)
    body = {"environment": "staging"}
    waiting = (await api.client.post(f"/api/v1/apps/{app_id}/deployments", body)).json["id"]
    build = (await send(api, f"app_id={app_id}&deployment_id={waiting}")).json
    assert (build["deployment_id"], build["environment_slug"]) == (waiting, "staging")
    other = await app_with_source(api, "other")
    refused = await send(api, f"app_id={other}&deployment_id={waiting}")
    refused.problem(422, "INVALID")
    assert refused.pointers == ["/deployment_id"]
    assert await count(api) == 1


NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("environment=staging", {}, 422, "INVALID"),
        ("app_id={app}&ref=main", {}, 422, "INVALID"),
        (f"app_id={NOBODY}", {}, 404, "APP_NOT_FOUND"),
        ("app_id={bare}", {}, 409, "SOURCE_NOT_CONFIGURED"),
        ("app_id={app}", {"X_Content_SHA256": "0" * 64}, 422, "INVALID"),
        ("app_id={app}", {"Content_Encoding": "gzip"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("app_id={app}", {"Content_Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
async def test_what_is_refused_leaves_nothing(
    api: Served, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    app, bare = await app_with_source(api), await api.app_id("bare")
    (await send(api, query.format(app=app, bare=bare), **headers)).problem(status, code)
    assert await count(api) == 0
    await asyncio.to_thread(eventually, lambda: kept(api) == [])


async def test_too_large(tmp_path: Path) -> None:
    async with Running(tmp_path, build_source_limit=1) as api:
        app_id = await app_with_source(api)
        (await send(api, f"app_id={app_id}", b"x" * ((1 << 20) + 1))).problem(413, "SOURCE_TOO_LARGE")
        async with api.client.connected() as connection:
            headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/gzip"}
            target = f"{BUILDS}?app_id={app_id}"
            await connection.send(api.client.request("POST", target, headers=headers))
            await connection.send(b"%x\r\n%b\r\n" % (2 << 20, b"x" * (2 << 20)))
            (await connection.answer()).problem(413, "SOURCE_TOO_LARGE")
        await asyncio.to_thread(eventually, lambda: kept(api) == [])
        assert (await send(api, f"app_id={app_id}", b"x" * (1 << 20))).status == 202


async def test_one_that_breaks_off_leaves_nothing_and_holds_nothing(api: Served) -> None:
    app_id = await app_with_source(api)
    stray = api.context.trees.open()
    stray.write(b"stray")
    sha256, _ = stray.finish()
    async with api.client.connected() as connection:
        headers = {"Content-Length": "1000", "Content-Type": "application/x-tar"}
        await connection.send(api.client.request("POST", f"{BUILDS}?app_id={app_id}", headers=headers))
        await asyncio.to_thread(eventually, lambda: len(kept(api)) == 2)
        assert api.context.trees.tidy() == 0, "one is arriving"
    await asyncio.to_thread(eventually, lambda: kept(api) == [sha256])
    assert await asyncio.to_thread(eventually, api.context.trees.tidy) == 1
    assert await count(api) == 0


async def test_a_key_makes_one_build(api: Served) -> None:
    app_id = await app_with_source(api)
    key: dict[str, Any] = {"Idempotency_Key": "once"}
    first, again = [await send(api, f"app_id={app_id}", **key) for _ in range(2)]
    assert (first.status, again.status, again.body) == (202, 202, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    (await send(api, f"app_id={app_id}", TREE + b"!", **key)).problem(422, "IDEMPOTENCY_KEY_REUSED")
    assert await count(api) == 1


async def test_the_json_form_takes_no_query(api: Served) -> None:
    app_id = await app_with_source(api)
    answer = await api.client.post(f"{BUILDS}?app_id={app_id}", {"app_id": app_id})
    answer.problem(422, "INVALID")
    assert (await api.client.post(BUILDS, {"app_id": app_id})).json["upload"] is None
