"""Serve's end of the socket, against gateways played by the test."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from platformd.gateway import protocol
from platformd.links.gateway import GatewayLink


class PlayedGateway:
    """Speaks the gateway's side of the protocol."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, link: World, pid: int = 1) -> PlayedGateway:
        played = cls(*await asyncio.open_unix_connection(str(link.path)))
        hellos = sum(event["op"] == "hello" for event in link.events)
        played.say(op="hello", v=1, pid=pid, epoch=0, activity={}, targets={}, held={})
        await link.heard("hello", hellos + 1)
        return played

    def say(self, **message: Any) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        line = await asyncio.wait_for(self._reader.readline(), 5)
        message: dict[str, Any] = json.loads(line)
        return message

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class World:
    """The link and what it told its owner."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.link = GatewayLink(path, asyncio.get_running_loop(), self._on_event)

    def _on_event(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if event["op"] == "hello":
            self.link.send(protocol.Reset(len(self.events)))
            self.link.send(protocol.Synced())
        self.changed.set()

    async def heard(self, op: str, count: int = 1) -> dict[str, Any]:
        while True:
            found = [event for event in self.events if event["op"] == op]
            if len(found) >= count:
                return found[count - 1]
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 5)

    async def gateway(self, pid: int = 1) -> PlayedGateway:
        played = await PlayedGateway.connect(self, pid)
        assert [(await played.hear())["op"] for _ in range(2)] == ["reset", "synced"]
        return played


@pytest.fixture
async def world(tmp_path: Path, no_leaks: None) -> AsyncIterator[World]:
    world = World(tmp_path / "serve.sock")
    await world.link.start()
    yield world
    await world.link.close()


IDLE = protocol.Close("d", ["t"], mode="idle", since=5)
DRAIN = protocol.Close("d", ["t"], mode="drain", timeout=3)


async def test_hello_is_answered_with_a_table_and_reports_come_through(world: World) -> None:
    assert not world.link.connected
    gateway = await world.gateway()
    assert world.link.connected
    gateway.say(op="wake", deployment="d", held=2)
    assert (await world.heard("wake"))["held"] == 2
    await gateway.close()


async def test_orders_from_any_thread_arrive_in_order(world: World) -> None:
    gateway = await world.gateway()

    def send() -> None:
        for number in range(100):
            world.link.send(protocol.Reset(number))

    thread = threading.Thread(target=send)
    thread.start()
    assert [(await gateway.hear())["epoch"] for _ in range(100)] == list(range(100))
    thread.join()
    await gateway.close()


async def test_orders_without_a_gateway_are_dropped(world: World) -> None:
    world.link.send(protocol.Errors(True))
    gateway = await world.gateway()
    world.link.send({"op": "errors", "full": False})
    assert await gateway.hear() == {"op": "errors", "full": False}
    await gateway.close()


@pytest.mark.parametrize("order", [IDLE, DRAIN])
@pytest.mark.parametrize("op", ["closed", "busy"])
async def test_a_close_is_answered_once(world: World, order: protocol.Close, op: str) -> None:
    gateway = await world.gateway()
    world.link.send(order)
    assert (await gateway.hear())["op"] == "close"
    for _ in range(2):
        gateway.say(op=op, deployment="d", tasks=["t"], mode=order.mode)
    if order.mode == "drain" and op == "busy":
        await gateway.close()
        return
    answer = await world.heard(op)
    assert answer["tasks"] == ["t"]
    gateway.say(op="wake", deployment="d", held=1)
    await world.heard("wake")
    assert [event["op"] for event in world.events].count(op) == 1
    await gateway.close()


@pytest.mark.parametrize("order", [IDLE, DRAIN])
async def test_a_close_the_gateway_died_over_is_put_to_the_next(world: World, order: protocol.Close) -> None:
    world.link.send(order)
    first = await world.gateway()
    assert (await first.hear())["op"] == "close"
    await first.close()
    second = await world.gateway()
    assert (await second.hear())["op"] == "close"
    second.say(op="closed", deployment="d", tasks=["t"], mode=order.mode)
    assert (await world.heard("closed"))["mode"] == order.mode
    await second.close()


async def test_two_gateways_must_both_let_go(world: World) -> None:
    old, new = await world.gateway(1), await world.gateway(2)
    assert [(await old.hear())["op"] for _ in range(2)] == ["reset", "synced"]
    world.link.send(DRAIN)
    for gateway in (new, old):
        assert (await gateway.hear())["op"] == "close"
    new.say(op="closed", deployment="d", tasks=["t"], mode="drain")
    new.say(op="wake", deployment="x", held=1)
    await world.heard("wake")
    assert not [event for event in world.events if event["op"] == "closed"]
    await old.close()
    await world.heard("closed")
    await new.close()


async def test_an_idle_stop_asks_the_leaving_gateway_first(world: World) -> None:
    """Were the new one to close and the old to be busy, the task would be shut and yet not stopped."""
    old, new = await world.gateway(1), await world.gateway(2)
    assert [(await old.hear())["op"] for _ in range(2)] == ["reset", "synced"]
    world.link.send(IDLE)
    assert (await old.hear())["op"] == "close"
    old.say(op="busy", deployment="d", tasks=["t"])
    await world.heard("busy")
    world.link.send(protocol.Errors(True))
    assert (await new.hear())["op"] == "errors"
    await old.close()
    await new.close()


async def test_nonsense_is_skipped_and_a_dead_serve_s_socket_replaced(world: World) -> None:
    gateway = await world.gateway()
    gateway._writer.write(b"{nonsense\n")
    gateway.say(op="wake", deployment="d", held=1)
    await world.heard("wake")
    await gateway.close()
    other = World(world.path)
    await other.link.start()
    await (await other.gateway()).close()
    await other.link.close()


async def test_a_folder_too_deep_for_a_socket_name(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 150)
    deep.mkdir()
    world = World(deep / "serve.sock")
    await world.link.start()
    assert (deep / "serve.sock").stat().st_mode & 0o777 == 0o600
    await world.link.close()
