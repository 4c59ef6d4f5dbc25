"""Artifacts: uploads that arrive whole or not at all, downloads whole or in part."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from tests.handlers.served import SCRIPT, Running, Served
from tests.support import eventually

ARTIFACTS = "/api/v1/artifacts"


async def announced(api: Served) -> str:
    return str(
        (await api.client.post(ARTIFACTS, {"name": "server", "content_type": "application/x-elf"})).json["id"]
    )


async def upload(api: Served, content: bytes, **headers: str):  # type: ignore[no-untyped-def]
    """(artifact id, answer)"""
    artifact_id = await announced(api)
    path = f"{ARTIFACTS}/{artifact_id}/upload"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return artifact_id, await api.client.call("POST", path, body=content, headers=sent)


def stored(api: Served) -> list[str]:
    """What lies in the folder of artifacts, unfinished uploads included."""
    return sorted(path.name for path in (api.logs_root.parent / "artifacts").iterdir())


async def nothing_stored(api: Served) -> None:
    await asyncio.to_thread(eventually, lambda: stored(api) == [])


async def test_announce_upload_look_and_list(api: Served) -> None:
    made = await api.client.post(ARTIFACTS, {"name": "server", "content_type": "text/x-sh"})
    assert made.status == 201
    assert made.headers["location"] == f"{ARTIFACTS}/{made.json['id']}"
    assert (made.json["size"], made.json["sha256"]) == (None, None)
    uploaded = await api.client.call("POST", f"{made.headers['location']}/upload", body=SCRIPT)
    digest = hashlib.sha256(SCRIPT).hexdigest()
    assert (uploaded.status, uploaded.json) == (200, {"size": len(SCRIPT), "sha256": digest})
    shown = (await api.client.get(made.headers["location"])).json
    assert (shown["name"], shown["content_type"], shown["size"], shown["sha256"]) == (
        "server",
        "text/x-sh",
        len(SCRIPT),
        digest,
    )
    assert (await api.client.get(ARTIFACTS)).json == {"data": [shown], "total": 1, "page": 1, "page_size": 20}
    assert stored(api) == [digest]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/name"]),
        ({"name": "a\nb"}, ["/name"]),
        ({"name": "a", "content_type": "text"}, ["/content_type"]),
        ({"name": "a", "content_type": "text/x\r\nX-Evil: 1"}, ["/content_type"]),
        ({"name": "a", "sha256": "x"}, ["/sha256"]),
    ],
)
async def test_what_is_no_artifact(api: Served, body: dict[str, str], pointers: list[str]) -> None:
    answer = await api.client.post(ARTIFACTS, body)
    answer.problem(422, "INVALID")
    assert answer.pointers == pointers


async def test_large_uploads_are_not_held_in_memory(api: Served) -> None:
    artifact_id = await announced(api)
    block, blocks = os.urandom(1 << 20), 200
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with api.client.connected() as connection:
        chunked = {"Transfer-Encoding": "chunked"}
        await connection.send(
            api.client.request("POST", f"{ARTIFACTS}/{artifact_id}/upload", headers=chunked)
        )
        for _ in range(blocks):
            await connection.send(b"%x\r\n%b\r\n" % (len(block), block))
        await connection.send(b"0\r\n\r\n")
        answer = await connection.answer()
    digest = hashlib.sha256()
    for _ in range(blocks):
        digest.update(block)
    assert answer.json == {"size": blocks << 20, "sha256": digest.hexdigest()}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


async def test_a_digest_that_matches_and_one_that_does_not(api: Served) -> None:
    digest = hashlib.sha256(SCRIPT).hexdigest()
    _, wrong = await upload(api, SCRIPT + b"x", X_Content_SHA256=digest)
    wrong.problem(422, "INVALID")
    assert wrong.pointers == ["/X-Content-SHA256"]
    assert stored(api) == []
    _, nonsense = await upload(api, SCRIPT, X_Content_SHA256="abc")
    assert nonsense.problem(422, "INVALID")["errors"][0]["pointer"] == "/X-Content-SHA256"
    _, right = await upload(api, SCRIPT, X_Content_SHA256=digest.upper())
    assert right.status == 200


async def test_a_truncated_upload_leaves_nothing_and_can_be_sent_again(api: Served) -> None:
    artifact_id = await announced(api)
    path = f"{ARTIFACTS}/{artifact_id}/upload"
    for framing in ({"Content-Length": str(3 << 20)}, {"Transfer-Encoding": "chunked"}):
        async with api.client.connected() as connection:
            await connection.send(api.client.request("POST", path, headers=framing))
            part = os.urandom(1 << 20)
            await connection.send(
                b"%x\r\n%b\r\n" % (len(part), part) if "Transfer-Encoding" in framing else part
            )
            await asyncio.to_thread(eventually, lambda: stored(api) != [])
        await nothing_stored(api)
    assert (await api.client.get(f"{ARTIFACTS}/{artifact_id}")).json["sha256"] is None
    assert (await api.client.call("POST", path, body=SCRIPT)).status == 200


async def test_a_second_upload(api: Served) -> None:
    artifact_id, _ = await upload(api, SCRIPT)
    again = await api.client.call("POST", f"{ARTIFACTS}/{artifact_id}/upload", body=b"#!/bin/other")
    again.problem(409, "ARTIFACT_COMPLETE")
    assert stored(api) == [hashlib.sha256(SCRIPT).hexdigest()]


async def test_two_uploads_at_once(api: Served) -> None:
    artifact_id = await announced(api)
    path = f"{ARTIFACTS}/{artifact_id}/upload"
    async with api.client.connected() as first:
        await first.send(api.client.request("POST", path, headers={"Content-Length": str(len(SCRIPT))}))
        await first.send(SCRIPT[:5])
        await asyncio.to_thread(eventually, lambda: stored(api) != [])
        (await api.client.call("POST", path, body=b"#!/bin/other")).problem(409, "ARTIFACT_UPLOADING")
        await first.send(SCRIPT[5:])
        assert (await first.answer()).status == 200
    assert stored(api) == [hashlib.sha256(SCRIPT).hexdigest()]


async def test_too_large(tmp_path: Path) -> None:
    async with Running(tmp_path, lambda context: replace(context, longest_upload=1 << 20)) as api:
        _, announced_size = await upload(api, b"x" * ((1 << 20) + 1))
        announced_size.problem(413, "ARTIFACT_TOO_LARGE")
        async with api.client.connected() as connection:
            path = f"{ARTIFACTS}/{await announced(api)}/upload"
            await connection.send(api.client.request("POST", path, headers={"Transfer-Encoding": "chunked"}))
            await connection.send(b"%x\r\n%b\r\n" % (2 << 20, b"x" * (2 << 20)))
            answer = await connection.answer()
            answer.problem(413, "ARTIFACT_TOO_LARGE")
            assert answer.headers["connection"] == "close"
        await nothing_stored(api)


async def test_unknown_artifacts_and_coded_bytes(api: Served) -> None:
    path = f"{ARTIFACTS}/00000000-0000-4000-8000-000000000000/upload"
    (await api.client.call("POST", path, body=SCRIPT)).problem(404, "ARTIFACT_NOT_FOUND")
    _, coded = await upload(api, SCRIPT, Content_Encoding="gzip")
    coded.problem(415, "UNSUPPORTED_MEDIA_TYPE")
    assert stored(api) == []


async def test_the_same_bytes_twice_are_stored_once(api: Served) -> None:
    (first, _), (second, _) = await upload(api, SCRIPT), await upload(api, SCRIPT)
    assert first != second
    assert len(stored(api)) == 1


async def test_download(api: Served) -> None:
    content = b"#!" + os.urandom(700_000)
    artifact_id, uploaded = await upload(api, content)
    path = f"{ARTIFACTS}/{artifact_id}/download"
    whole = await api.client.get(path)
    etag = f'"{uploaded.json["sha256"]}"'
    assert (whole.status, whole.body) == (200, content)
    assert (whole.headers["etag"], whole.headers["content-type"]) == (etag, "application/x-elf")
    head = await api.client.call("HEAD", path)
    assert (head.status, head.headers["content-length"]) == (200, str(len(content)))
    unchanged = await api.client.get(path, If_None_Match=f'"x", {etag}')
    assert (unchanged.status, unchanged.body) == (304, b"")


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-1", 0, 2),
        ("bytes=10-", 10, 100),
        ("bytes=-5", 95, 100),
        ("bytes=90-999", 90, 100),
        ("bytes=-500", 0, 100),
    ],
)
async def test_parts(api: Served, header: str, start: int, end: int) -> None:
    content = b"#!" + bytes(range(98))
    artifact_id, _ = await upload(api, content)
    part = await api.client.get(f"{ARTIFACTS}/{artifact_id}/download", Range=header)
    assert (part.status, part.body) == (206, content[start:end])
    assert part.headers["content-range"] == f"bytes {start}-{end - 1}/100"


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=5-4", "bytes=-0"])
async def test_parts_outside(api: Served, header: str) -> None:
    artifact_id, _ = await upload(api, b"#!" + bytes(98))
    answer = await api.client.get(f"{ARTIFACTS}/{artifact_id}/download", Range=header)
    answer.problem(416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["content-range"] == "bytes */100"


@pytest.mark.parametrize(
    "headers", [{"Range": "lines=1-2"}, {"Range": "bytes=1-2,4-5"}, {"Range": "bytes=0-1", "If_Range": '"x"'}]
)
async def test_parts_that_are_not_understood_mean_the_whole(api: Served, headers: dict[str, str]) -> None:
    artifact_id, _ = await upload(api, SCRIPT)
    answer = await api.client.get(f"{ARTIFACTS}/{artifact_id}/download", **headers)
    assert (answer.status, answer.body) == (200, SCRIPT)


async def test_nothing_to_download(api: Served) -> None:
    (await api.client.get(f"{ARTIFACTS}/{await announced(api)}/download")).problem(409, "ARTIFACT_INCOMPLETE")
    artifact_id, uploaded = await upload(api, SCRIPT)
    api.context.artifacts.path(uploaded.json["sha256"]).unlink()
    (await api.client.get(f"{ARTIFACTS}/{artifact_id}/download")).problem(404, "ARTIFACT_LOST")


async def test_a_client_that_leaves_its_download(api: Served) -> None:
    artifact_id, _ = await upload(api, b"#!" + bytes(20 << 20))
    open_files = len(os.listdir("/proc/self/fd"))
    async with api.client.connected() as connection:
        await connection.send(api.client.request("GET", f"{ARTIFACTS}/{artifact_id}/download"))
        await connection.head()
    await asyncio.to_thread(eventually, lambda: len(os.listdir("/proc/self/fd")) <= open_files)
