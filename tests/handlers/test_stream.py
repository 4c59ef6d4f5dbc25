"""The live stream: order, resuming, the end, gaps, slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from handlers import feeds, sse
from handlers.sources import LogSource
from tests.handlers.client import Connection, EventSource
from tests.handlers.served import Served
from tests.handlers.standins import Lines
from tests.handlers.streams import streaming, texts
from tests.support import eventually


async def reconnect(api: Served, deployment: Any, **headers: str) -> int:
    """The status a reconnecting reader gets."""
    async with api.client.connected() as connection:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        path = f"/api/v1/deployments/{deployment['id']}/logs/stream"
        await connection.send(api.client.request("GET", path, headers=sent))
        return (await connection.head())[0]


async def test_what_is_stored_and_then_what_comes(api: Served) -> None:
    deployment = await api.deployment()
    lines = api.lines(deployment["id"])
    ids = lines.write("one", "two")
    async with streaming(api, deployment) as source:
        first = await source.messages(2)
        assert [event.id for event in first] == ids
        assert texts(first) == ["one", "two"]
        assert first[0].data["id"] == ids[0]
        assert first[0].data["deployment_id"] == deployment["id"]
        for text in ("three", "four"):
            (id,) = lines.write(text)
            (event,) = await source.messages(1)
            assert (event.id, event.data["message"]) == (id, text)


async def test_the_last_hundred_or_as_many_as_asked_for(api: Served) -> None:
    deployment = await api.deployment()
    lines = api.lines(deployment["id"])
    lines.write(*map(str, range(150)))
    async with streaming(api, deployment) as source:
        assert texts(await source.messages(100)) == [str(n) for n in range(50, 150)]
    async with streaming(api, deployment, "?tail=3") as source:
        assert texts(await source.messages(3)) == ["147", "148", "149"]
    async with streaming(api, deployment, "?tail=0") as source:
        await source.any()
        await asyncio.to_thread(eventually, lambda: len(api.app.streams) == 1)
        lines.write("new")
        assert texts(await source.messages(1)) == ["new"]


async def test_resuming_without_gap_or_repeat(api: Served) -> None:
    deployment = await api.deployment()
    lines = api.lines(deployment["id"])
    ids = lines.write(*map(str, range(1300)))
    async with streaming(api, deployment, f"?after={ids[10]}") as source:
        assert [event.id for event in await source.messages(1289)] == ids[11:]
    async with streaming(api, deployment, f"?after={ids[10]}", Last_Event_ID=str(ids[1297])) as source:
        assert [event.id for event in await source.messages(2)] == ids[1298:]
    async with streaming(api, deployment, "?after=0&tail=1") as source:
        assert (await source.messages(1))[0].id == ids[0]


async def test_many_readers_join_while_lines_come(api: Served) -> None:
    deployment = await api.deployment()
    lines = api.lines(deployment["id"])
    written = lines.write(*(f"before {n}" for n in range(700)))
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            written.extend(lines.write(*(f"line {n}" for n in range(7))))
            await asyncio.sleep(0.001)

    async def follow(resume: int) -> list[int]:
        seen: list[int] = []
        while len(seen) < 1500:  # leaves and comes back now and then
            after = seen[-1] if seen else resume
            async with streaming(api, deployment, Last_Event_ID=str(after)) as source:
                seen += [event.id for event in await source.messages(211 + len(seen) % 13)]
        return seen

    writing = asyncio.create_task(write())
    try:
        starts = [written[n * 30] for n in range(12)]
        everything = await asyncio.gather(*map(follow, starts))
    finally:
        stop.set()
        await writing
    for start, seen in zip(starts, everything, strict=True):
        begin = written.index(start) + 1
        assert seen == written[begin : begin + len(seen)]


async def test_who_is_a_little_behind_joins_without_reading(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    before = LogSource.read

    async def counted(source: LogSource, context: Any, after: int, limit: int) -> Any:
        if limit == feeds.PAGE:  # as those who catch up do
            read.append(after)
        return await before(source, context, after, limit)

    monkeypatch.setattr(LogSource, "read", counted)
    monkeypatch.setattr(feeds, "REMEMBERED", 1500)  # some six lines of this test
    deployment = await api.deployment()
    lines = api.lines(deployment["id"])
    async with streaming(api, deployment) as first:
        ids = lines.write("one")
        await first.messages(1)
        for number in range(8):  # one after the other, so that the feed hands them out so
            ids += lines.write(f"more {number}")
            await first.messages(1)
        async with streaming(api, deployment, Last_Event_ID=str(ids[4])) as near:
            assert [event.id for event in await near.messages(4)] == ids[5:]
            assert ids[4] not in read
            async with streaming(api, deployment, Last_Event_ID=str(ids[0])) as far:
                assert [event.id for event in await far.messages(8)] == ids[1:]
                assert ids[0] in read
                last = lines.write("all get this")
                for source in (first, near, far):
                    assert [event.id for event in await source.messages(1)] == last


async def test_lines_that_nobody_announced_come_too(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "POLL_SECS", 0.1)
    deployment = await api.deployment()
    lines = api.lines(deployment["id"])
    async with streaming(api, deployment) as source:
        lines.write("quiet", announce=False)
        assert texts(await source.messages(1)) == ["quiet"]


async def test_the_end_and_a_reconnect_after_it(api: Served) -> None:
    deployment = await api.deployment()
    lines = api.lines(deployment["id"])
    async with streaming(api, deployment) as source:
        lines.write("last words")
        assert texts(await source.messages(1)) == ["last words"]
        await api.finish(deployment["id"])
        (final,) = lines.write("one more, written late")
        assert texts(await source.messages(1)) == ["one more, written late"]
        end = await source.next()
        assert (end.name, end.id, end.data) == ("end", final, {"status": "cancelled"})
        with pytest.raises(EOFError):
            await source.next()
    assert await reconnect(api, deployment, Last_Event_ID=str(final)) == 204
    assert await reconnect(api, deployment, Last_Event_ID=str(final - 1)) == 200
    async with streaming(api, deployment, "?tail=1") as source:
        assert texts(await source.messages(1)) == ["one more, written late"]
        assert (await source.next()).name == "end"


async def test_the_end_of_one_that_never_wrote(api: Served) -> None:
    deployment = await api.deployment()
    await api.finish(deployment["id"])
    async with streaming(api, deployment) as source:
        end = await source.next()
        assert (end.name, end.id) == ("end", 0)
    assert await reconnect(api, deployment, Last_Event_ID="0") == 204


async def test_a_connection_serves_on_after_the_end(api: Served) -> None:
    deployment = await api.deployment()
    api.lines(deployment["id"]).write("x")
    await api.finish(deployment["id"])
    async with api.client.connected() as connection:
        path = f"/api/v1/deployments/{deployment['id']}/logs/stream"
        await connection.send(api.client.request("GET", path))
        assert b"event: end" in (await connection.answer()).body
        await connection.send(api.client.request("GET", "/healthz"))
        assert (await connection.answer()).status == 200


async def test_an_id_that_is_no_longer_kept(api: Served) -> None:
    deployment = await api.deployment()
    (lost,) = api.lines(deployment["id"]).write("lost")
    shutil.rmtree(api.logs_root / deployment["id"])
    ids = api.lines(deployment["id"]).write("kept", "too")
    async with streaming(api, deployment, Last_Event_ID=str(lost)) as source:
        gap = await source.next()
        assert (gap.name, gap.data["oldest"]) == ("gap", ids[0])
        assert texts(await source.messages(2)) == ["kept", "too"]


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 30, "", "\u0661"])
async def test_an_id_that_is_none(api: Served, given: str) -> None:
    deployment = await api.deployment()
    path = f"/api/v1/deployments/{deployment['id']}/logs/stream"
    headers = {"Last-Event-ID": given.encode().decode("latin1")}
    answer = await api.client.call("GET", path, headers=headers)
    answer.problem(422, "INVALID")
    assert answer.pointers == ["/Last-Event-ID"]


async def test_an_id_from_the_future_waits_for_what_comes(api: Served) -> None:
    deployment = await api.deployment()
    lines = api.lines(deployment["id"])
    lines.write("old")
    async with streaming(api, deployment, f"?after={1 << 53}") as source:
        await source.any()
        await asyncio.to_thread(eventually, lambda: len(api.app.streams) == 1)
        lines.write("new")
        assert texts(await source.messages(1)) == ["new"]


async def test_json_lines(api: Served) -> None:
    deployment = await api.deployment()
    api.lines(deployment["id"]).write("one", "two")
    await api.finish(deployment["id"])
    path = f"/api/v1/deployments/{deployment['id']}/logs/stream"
    answer = await api.client.get(path, Accept="application/x-ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    documents = [json.loads(line) for line in answer.body.decode().splitlines()]
    assert [document.get("message") for document in documents] == ["one", "two", None]
    assert documents[-1] == {"event": "end", "status": "cancelled"}


async def test_one_tasks_stream_ends_with_the_task(api: Served) -> None:
    deployment = await api.deployment()
    task = await api.task(deployment)
    api.lines(deployment["id"]).write("somebody else's")
    lines = api.lines(deployment["id"], task.id)
    lines.write("ours")
    async with api.client.connected() as connection:
        await connection.send(api.client.request("GET", f"/api/v1/tasks/{task.id}/logs/stream"))
        await connection.head()
        source = EventSource(connection)
        assert texts(await source.messages(1)) == ["ours"]


async def test_http_1_0_and_head(api: Served) -> None:
    deployment = await api.deployment()
    api.lines(deployment["id"]).write("one")
    await api.finish(deployment["id"])
    path = f"/api/v1/deployments/{deployment['id']}/logs/stream"
    async with api.client.connected() as connection:
        await connection.send(api.client.request("GET", path).replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = await connection.answer()
    assert "transfer-encoding" not in answer.headers
    assert b'"message":"one"' in answer.body
    assert answer.body.endswith(b'event: end\ndata: {"status":"cancelled"}\n\n')
    assert (await api.client.call("HEAD", path)).status == 200


async def test_pings(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "PING_SECS", 0.5)
    deployment = await api.deployment()
    async with streaming(api, deployment) as source:
        greeting, ping, again = [await source.any() for _ in range(3)]
        assert greeting.data.startswith("retry: ")
        assert ping.data == again.data == ": ping"


async def test_a_stopping_server_says_so(api: Served) -> None:
    deployment = await api.deployment()
    api.lines(deployment["id"]).write("one")
    async with streaming(api, deployment) as source:
        await source.messages(1)
        await api.app.close()
        assert (await source.next()).name == "shutdown"
        with pytest.raises(EOFError):
            await source.next()


async def test_readers_that_leave_leave_nothing(api: Served) -> None:
    deployment = await api.deployment()
    lines = api.lines(deployment["id"])
    lines.write("one")
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as readers:
        for _ in range(20):
            source = await readers.enter_async_context(streaming(api, deployment))
            await source.messages(1)
        assert len(api.app.streams) == 20
    lines.write("two")

    def nothing_left() -> bool:
        names = [str(task.get_coro()) for task in asyncio.all_tasks(loop)]
        return len(api.app.streams) == 0 and not any("Feed" in name or "Hub" in name for name in names)

    await asyncio.to_thread(eventually, nothing_left)


async def test_a_reader_that_does_not_read_is_told_and_closed_and_the_others_go_on(api: Served) -> None:
    deployment = await api.deployment()
    lines = api.lines(deployment["id"])
    (first,) = lines.write("first")
    async with streaming(api, deployment) as good, _stuck(api, deployment) as stuck:
        await good.messages(1)
        await asyncio.to_thread(eventually, lambda: len(api.app.streams) == 2)
        seen = await _flood(lines, good)
        received = await _drain(stuck)
        assert received[-1].name == "gap"
        assert "Last-Event-ID" in received[-1].data["detail"]
        ids = [event.id for event in received[:-1]]
        assert ids == [first, *seen][: len(ids)]
        async with streaming(api, deployment, Last_Event_ID=str(ids[-1])) as resumed:
            rest = [event.id for event in await resumed.messages(len(seen) + 1 - len(ids))]
            assert ids + rest == [first, *seen]


@asynccontextmanager
async def _stuck(api: Served, deployment: Any) -> AsyncIterator[Connection]:
    """A reader that asks and then reads nothing."""
    async with api.client.connected() as connection:
        transport: Any = connection.writer.transport
        transport.pause_reading()
        path = f"/api/v1/deployments/{deployment['id']}/logs/stream"
        await connection.send(api.client.request("GET", path))
        yield connection


async def _flood(lines: Lines, good: EventSource) -> list[int]:
    """Writes far more than is kept for a reader; the ids that the good one saw, each soon after it was written."""
    seen: list[int] = []
    text = "x" * 30_000
    while len(seen) < 800:
        ids = lines.write(*[text] * 8)
        async with asyncio.timeout(5):
            got = [event.id for event in await good.messages(8)]
        assert got == ids
        seen += got
    return seen


async def _drain(stuck: Connection) -> list[Any]:
    transport: Any = stuck.writer.transport
    transport.resume_reading()
    await stuck.head()
    source, received = EventSource(stuck), []
    with contextlib.suppress(EOFError):
        while True:
            received.append(await source.next())
    return received
