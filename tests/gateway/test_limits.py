"""Slow, silent and numerous clients; and the orderly end."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from platformd.gateway import core, protocol
from tests.gateway.harness import DEPLOYMENT, HOST, App, Gateway, Reply, get, say
from tests.gateway.test_idle import gated, streaming
from tests.support import eventually

Apps = Callable[..., App]


@pytest.mark.slow
def test_slow_heads_are_told_so_and_harm_nobody(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    slow = [gateway.connect(20) for _ in range(200)]
    began = time.monotonic()
    for connection in slow:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
    stop = threading.Event()

    def dribble() -> None:
        while not stop.wait(1):
            for connection in slow[:20]:
                try:
                    connection.sendall(b"x")
                except OSError:
                    continue

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        assert gateway.get().status == 200
        for connection in slow:
            reply = Reply.read(connection)
            assert (reply.status, reply.problem["code"]) == (408, "REQUEST_TIMEOUT")
            assert connection.recv(1) == b""
            connection.close()
    finally:
        stop.set()
        thread.join()
    assert 9.5 < time.monotonic() - began < 15


def test_two_thousand_idle_connections_cost_little(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    gateway.get()
    before = gateway.memory()
    idle = [gateway.connect() for _ in range(2000)]
    for connection in idle[::2]:
        connection.sendall(get())
        assert Reply.read(connection).status == 200
    assert gateway.get().status == 200
    assert (gateway.memory() - before) / 2000 < 8000
    for connection in idle[::2]:
        connection.sendall(get())
        assert Reply.read(connection).status == 200
    for connection in idle:
        connection.close()


@asynccontextmanager
async def within_this_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **limits: float
) -> AsyncIterator[core.Gateway]:
    """The same code on the test's own loop, with limits that a test can wait for."""
    for name, seconds in limits.items():
        monkeypatch.setattr(core, name, seconds)
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    gateway = core.Gateway(core.Settings(folder / "none.sock"), loop)
    gateway.address = listener.getsockname()  # type: ignore[attr-defined]
    running = loop.create_task(gateway.run(listener))
    gateway.table.swap()
    try:
        yield gateway
    finally:
        gateway.stop()
        await asyncio.wait_for(running, 15)
        listener.close()


async def ask(gateway: core.Gateway, request: bytes) -> bytes:
    """Everything that comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection(*gateway.address)  # type: ignore[attr-defined]
    writer.write(request)
    data = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return data


async def test_idle_connections_are_closed_in_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_leaks: None
) -> None:
    """A kept connection, a silent one, and one that reads out an answer."""
    async with within_this_process(tmp_path, monkeypatch, IDLE_TIMEOUT=0.5, LINGER_TIMEOUT=0.5) as gateway:
        requests = (get(host="x"), b"", b"bad\r\n\r\n")
        kept, silent, lingering = await asyncio.gather(*(ask(gateway, request) for request in requests))
    assert b"NO_HOST" in kept and silent == b"" and b"BAD_FRAMING" in lingering


async def test_bodies_that_stop_and_clients_that_do_not_read_are_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_leaks: None
) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        try:
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                for _ in range(100):
                    writer.write(bytes(1_000_000))
                    await writer.drain()
            await reader.read()
        except ConnectionError:
            ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    limits = {"BODY_TIMEOUT": 0.5, "SEND_TIMEOUT": 0.5}
    async with within_this_process(tmp_path, monkeypatch, **limits) as gateway:
        gateway.table.apply(protocol.Routes({HOST: DEPLOYMENT}, {DEPLOYMENT: protocol.Config()}))
        spec = protocol.TargetSpec("t", server.sockets[0].getsockname())
        gateway.table.retarget(protocol.Targets(DEPLOYMENT, (spec,)))
        answer = await ask(
            gateway, f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\nab".encode()
        )
        assert b"408" in answer and b"REQUEST_TIMEOUT" in answer
        reader, writer = await asyncio.open_connection(*gateway.address, limit=1000)  # type: ignore[attr-defined]
        writer.write(get())
        await asyncio.wait_for(ended.wait(), 10)
        with pytest.raises(ConnectionError):
            while await reader.read(100_000):
                pass
        writer.close()
    server.close()
    await server.wait_closed()


def test_half_open_clients_leave_their_places(gateway: Gateway, app: Apps) -> None:
    """EOF counts as leaving, also in the middle of a head, a body and an answer."""
    web = app(gated)
    gateway.open(web.address)
    assert gateway.serve
    for begun in (
        b"GET / HT",
        get()[:-2],
        f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\nab".encode(),
    ):
        with gateway.connect() as connection:
            connection.sendall(begun)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
    eventually(lambda: gateway.serve and gateway.serve.requests().get("499") == 1)
    web.gate.set()
    assert gateway.get().status == 200


def test_sigterm_lets_requests_end_and_refuses_no_held_one(gateway: Gateway, app: Apps) -> None:
    web, sleeper = app(gated), app()
    gateway.open(web.address)
    assert gateway.serve
    gateway.serve.send(op="routes", hosts={"b.localhost": "b"}, deployments={"b": {}})
    idle = gateway.connect()
    idle.sendall(get(host="nobody"))
    Reply.read(idle)
    with ThreadPoolExecutor(2) as pool:
        flying = pool.submit(gateway.get)
        held = pool.submit(gateway.get, host="b.localhost")
        gateway.serve.hear("wake", deployment="b")
        eventually(lambda: web.active)
        gateway.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        idle.close()
        assert gateway.process.poll() is None
        gateway.serve.send(
            op="targets",
            deployment="b",
            tasks=[{"task": "b", "address": list(sleeper.address), "slow_start": True}],
        )
        assert held.result().headers["connection"] == "close"
        web.gate.set()
        assert flying.result().headers["connection"] == "close"
    assert gateway.process.wait(5) == 0


def test_streams_are_cut_once_ordinary_requests_ended(gateway: Gateway, app: Apps) -> None:
    web = app(streaming)
    gateway.open(web.address)
    assert gateway.serve
    with gateway.connect() as connection:
        connection.sendall(get())
        eventually(lambda: b"data: 1" in connection.recv(65536))
        gateway.serve.send(op="bye")
        began = time.monotonic()
        assert connection.recv(65536) == b""
        assert time.monotonic() - began < 5
    web.gate.set()
    assert gateway.process.wait(5) == 0


@pytest.mark.slow
def test_the_end_does_not_wait_longer_than_ten_seconds(gateway: Gateway, app: Apps) -> None:
    web = app(gated)
    gateway.open(web.address)
    assert gateway.serve
    gateway.serve.send(op="routes", hosts={"b.localhost": "b"}, deployments={"b": {}})
    web.gate.clear()
    with gateway.connect(20) as stuck, ThreadPoolExecutor(1) as pool:
        web._handle = lambda *_: web.gate.wait(30)
        stuck.sendall(get())
        held = pool.submit(gateway.get, host="b.localhost", timeout=20)
        gateway.serve.hear("wake", deployment="b")
        eventually(lambda: web.active)
        gateway.process.send_signal(signal.SIGTERM)
        assert held.result().status == 503
        assert stuck.recv(1) == b""
    assert gateway.process.wait(5) == 0
    web.gate.set()


def test_another_gateway_takes_over_on_the_same_listener(gateway: Gateway, app: Apps) -> None:
    """No connection is refused while one process follows the other."""
    gateway.open(app().address)
    assert gateway.serve
    stop = threading.Event()
    statuses: list[int] = []

    def keep_asking() -> None:
        while not stop.is_set():
            statuses.append(gateway.get(timeout=20).status)

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(keep_asking) for _ in range(4)]
        try:
            old = gateway.process
            eventually(lambda: len(statuses) > 50)
            old.send_signal(signal.SIGTERM)
            assert old.wait(10) == 0
            gateway.start()
            gateway.serve.hear("hello", 2)
            web = app(say(b"second"))
            gateway.serve.sync({HOST: DEPLOYMENT}, {DEPLOYMENT: {}}, {DEPLOYMENT: [
                {"task": "t", "address": list(web.address), "slow_start": True}
            ]})  # fmt: skip
            count = len(statuses)
            eventually(lambda: len(statuses) > count + 50)
        finally:
            stop.set()
        for asker in askers:
            asker.result()
    assert set(statuses) == {200}
