"""Events over HTTP: live and stored, filters, resuming, gaps, slow readers, tokens of one app."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from handlers import sse
from handlers.authentication import Authentication
from handlers.callers import Caller
from handlers.operation import Scope
from platformd import clock
from platformd.domain.notice import Filter, Notice
from platformd.domain.operations import ForgetEvents
from tests.handlers.client import EventSource
from tests.handlers.served import Served
from tests.support import eventually

EVERYTHING = Filter()
TASKS = Filter(types=frozenset({"task."}))


async def happen(api: Served, *types: str, **about: Any) -> list[int]:
    """Something of each type happens; the ids of the events."""
    about = {"app_id": "an app", "deployment_id": None, **about}
    before = await asyncio.to_thread(api.context.views.last_event_id)
    notices = [Notice(kind=type.partition(".")[0], type=type, **about) for type in types]
    deployment = next(api.store.deployments())
    saved = replace(deployment, updated_at=deployment.updated_at + timedelta(seconds=1))
    await asyncio.to_thread(api.store.save_behind, saved, notices)
    await asyncio.to_thread(eventually, lambda: api.context.views.last_event_id() > before)
    return [id for id, _ in api.context.views.events_after(EVERYTHING, before, 100_000)[0]]


@asynccontextmanager
async def following(api: Served, query: str = "", path: str = "/api/v1/events", **headers: str):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with api.client.connected() as connection:
        await connection.send(api.client.request("GET", path + query, headers=sent))
        status, seen = await connection.head()
        assert status == 200, seen
        yield EventSource(connection)


def types(events: list[Any]) -> list[str]:
    return [event.data["type"] for event in events]


async def listed(api: Served, query: str = "", path: str = "/api/v1/events") -> list[Any]:
    answer = await api.client.get(path + query, Accept="application/json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer
    return list(answer.json)


async def test_what_comes_is_unnamed_and_has_the_rows_id(api: Served) -> None:
    deployment = await api.deployment()
    async with following(api) as source:
        await source.any()
        ids = await happen(
            api, "task.exited", deployment_id=deployment["id"], task_id="t", revision=3, data={"exit_code": 7}
        )
        (event,) = await source.messages(1)
    assert [event.id] == ids
    assert event.data == {
        "id": ids[0],
        "at": event.data["at"],
        "type": "task.exited",
        "app_id": "an app",
        "deployment_id": deployment["id"],
        "task_id": "t",
        "build_id": None,
        "revision": 3,
        "data": {"exit_code": 7},
    }
    assert await listed(api, "?type=task.exited") == [event.data]


async def test_filters(api: Served) -> None:
    deployment = await api.deployment()
    id = deployment["id"]
    await happen(api, "deployment.ready", "task.running", "task.exited", deployment_id=id)
    await happen(api, "deployment.ready", app_id="another")
    async with following(api, "?tail=1000&type=task.") as source:
        assert types(await source.messages(2)) == ["task.running", "task.exited"]
    wanted = {
        "?type=task.exited,deployment.": ["deployment.ready", "task.exited", "deployment.ready"],
        "?app_id=00000000-0000-0000-0000-000000000000": [],
        f"?deployment_id={id}&type=deployment.ready": ["deployment.ready"],
        "?type=deployment.ready&limit=1": ["deployment.ready"],
        "?type=task": [],
    }
    for query, expected in wanted.items():
        found = [event["type"] for event in await listed(api, query)]
        assert [type for type in found if type != "deployment.created"] == expected, query
    of_one = await listed(api, "?type=task.", f"/api/v1/deployments/{id}/events")
    assert [event["type"] for event in of_one] == ["task.running", "task.exited"]
    for query in ("?type=Task!", "?type=", "?limit=0", "?after=-1", "?deployment_id=x", "?kind=task"):
        assert (await api.client.get("/api/v1/events" + query)).status == 422, query
    missing = await api.client.get("/api/v1/deployments/00000000-0000-0000-0000-000000000000/events")
    assert missing.json["code"] == "DEPLOYMENT_NOT_FOUND"


async def test_resuming_by_id_crosses_from_rows_to_what_comes(api: Served) -> None:
    await api.deployment()
    ids = await happen(api, *(f"task.{'abc'[n % 3]}" for n in range(1300)))
    ids += await happen(api, "task.a")
    async with following(api, f"?after={ids[100]}") as source:
        assert [event.id for event in await source.messages(1200)] == ids[101:]
        more = await happen(api, "task.a", "task.b")
        assert [event.id for event in await source.messages(2)] == more
    async with following(
        api, "?after=0", Last_Event_ID=str(ids[-3]), Accept="application/x-ndjson"
    ) as source:
        chunks = source.connection.chunks()
        lines = (await anext(chunks)).splitlines()
        assert [json.loads(line)["id"] for line in lines] == [*ids[-2:], *more]
    assert [event["id"] for event in await listed(api, f"?after={ids[5]}&limit=3")] == ids[6:9]


async def test_many_readers_join_while_things_happen(api: Served) -> None:
    await api.deployment()
    written = await happen(api, *("task.x" for _ in range(600)))
    start = written[0]
    stop = asyncio.Event()

    async def go_on() -> None:
        while not stop.is_set():
            await happen(api, "task.x", "deployment.y", "task.x")

    async def follow(after: int) -> list[int]:
        seen: list[int] = []
        while len(seen) < 700:  # leaves and comes back now and then
            resume = str(seen[-1] if seen else after)
            async with following(api, "?type=task.", Last_Event_ID=resume) as source:
                seen += [event.id for event in await source.messages(151 + len(seen) % 13)]
        return seen

    writing = asyncio.create_task(go_on())
    try:
        everything = await asyncio.gather(*(follow(start) for _ in range(8)))
    finally:
        stop.set()
        await writing
    stored, _ = api.context.views.events_after(TASKS, start, 100_000)
    ids = [id for id, _ in stored]
    assert all(seen == ids[: len(seen)] for seen in everything)


async def test_a_gap_is_told_once_events_are_forgotten_and_only_then(api: Served) -> None:
    await api.deployment()
    ids = await happen(api, "task.a", "task.b", "task.c")
    async with following(api, f"?after={ids[0]}") as source:
        assert types(await source.messages(2)) == ["task.b", "task.c"]
    tomorrow = clock.now() + timedelta(days=1)
    assert await asyncio.wrap_future(api.store.commit(ForgetEvents(before=tomorrow, most=10_000))) >= 3
    last = await happen(api, "task.d")
    async with following(api, f"?after={ids[0]}") as source:
        gap = await source.next()
        assert (gap.name, gap.data["code"], gap.data["oldest"]) == ("gap", "NOT_KEPT", last[0])
        assert types(await source.messages(1)) == ["task.d"]
    async with following(api, f"?after={ids[2]}") as source:
        assert (await source.next()).data["type"] == "task.d"


async def test_readers_that_never_read_are_told_and_closed_the_others_lose_nothing(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "LARGEST_BACKLOG", 64 << 10)
    monkeypatch.setattr(sse, "SEND_BUFFER", 4 << 10)
    await api.deployment()
    padding = {"message": "x" * 2000}
    readers = []
    for _ in range(50):
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.setblocking(False)
        await asyncio.get_running_loop().sock_connect(stuck, ("127.0.0.1", api.client.port))
        await asyncio.get_running_loop().sock_sendall(stuck, api.client.request("GET", "/api/v1/events"))
        readers.append(stuck)
    await asyncio.to_thread(eventually, lambda: len(api.app.streams) == 50)
    try:
        async with following(api) as one, following(api, "?type=task.") as two:
            await asyncio.to_thread(eventually, lambda: len(api.app.streams) == 52)
            ids: list[int] = []
            for _ in range(15):
                ids += await happen(api, *("task.x" for _ in range(20)), data=padding)
                for source in (one, two):
                    begun = clock.monotonic()
                    got = [event.id for event in await source.messages(20)]
                    assert got == ids[-20:]
                    assert clock.monotonic() - begun < 5
            text = await asyncio.to_thread(_everything, readers[0])  # at last it reads
            await asyncio.to_thread(eventually, lambda: len(api.app.streams) == 2, 30)
    finally:
        for stuck in readers:
            stuck.close()
    assert text.count("event: gap") == 1
    assert "SLOW_READER" in text
    received = [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]
    assert received == ids[: len(received)]
    async with following(api, f"?after={received[-1] if received else ids[0] - 1}") as source:
        rest = [event.id for event in await source.messages(len(ids) - len(received))]
    assert received + rest == ids


def _everything(stuck: socket.socket) -> str:
    """What a client gets that begins to read, to the end of the answer."""
    stuck.settimeout(10)
    received = b""
    while not received.endswith(b"\r\n0\r\n\r\n"):
        data = stuck.recv(65536)
        assert data, received[-200:]
        received += data
    return received.decode()


async def test_a_token_of_one_app_sees_that_app_only(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = await api.app_id("mine"), await api.app_id("other")
    await api.deployment(mine)
    theirs = await api.deployment(other)
    await happen(api, "task.mine", app_id=mine)
    await happen(api, "task.theirs", app_id=other)
    bound = Caller(Scope.READ, "token", mine)
    monkeypatch.setattr(Authentication, "admit", lambda *_: bound)
    assert [event["type"] for event in await listed(api, "?type=task.")] == ["task.mine"]
    refused = await api.client.get(f"/api/v1/events?app_id={other}")
    assert (refused.status, refused.json["code"]) == (403, "TOKEN_BOUND_TO_APP")
    assert (await api.client.get(f"/api/v1/deployments/{theirs['id']}/events")).status == 403


async def test_head_answers_and_ends(api: Served) -> None:
    answer = await api.client.call("HEAD", "/api/v1/events")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
