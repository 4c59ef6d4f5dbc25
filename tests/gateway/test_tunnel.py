"""WebSockets and event streams."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

from platformd import clock
from tests.gateway.harness import DEPLOYMENT, HOST, TASK, App, Gateway, Reply, get, say
from tests.support import eventually

Apps = Callable[..., App]


@contextmanager
def echo_server() -> Iterator[Server]:
    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    server = serve(echo, "127.0.0.1", 0, compression=None, max_size=None)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


def dial(gateway: Gateway) -> AbstractContextManager[ClientConnection]:
    return connect(f"ws://{HOST}/chat", sock=gateway.connect(), max_size=None, compression=None)


def test_a_websocket_passes_and_is_activity(gateway: Gateway) -> None:
    with echo_server() as server:
        gateway.open(server.socket.getsockname())
        assert gateway.serve
        with dial(gateway) as chat:
            for message in ("hello", b"\x00\xff", "x" * 3_000_000):
                chat.send(message)
                assert chat.recv(10) == message
            gateway.serve.send(op="close", deployment=DEPLOYMENT, tasks=[TASK], mode="idle", since=2**62)
            gateway.serve.hear("busy")
            gateway.serve.send(op="close", deployment=DEPLOYMENT, tasks=[TASK], mode="drain", timeout=20)
            gateway.serve.hear("closed", mode="drain")
            chat.send("still there")
            assert chat.recv(10) == "still there"
            assert gateway.serve.count("quiet") == 0
            ended = clock.boot_ns()
        assert gateway.serve.hear("quiet")["since"] >= ended
        eventually(lambda: gateway.serve and gateway.serve.requests() == {"1xx": 1})


def test_a_websocket_is_held_while_the_app_wakes(gateway: Gateway) -> None:
    with echo_server() as server:
        gateway.sleep()
        assert gateway.serve

        def talk() -> str | bytes:
            with dial(gateway) as chat:
                chat.send("x")
                return chat.recv(10)

        with ThreadPoolExecutor(1) as pool:
            said = pool.submit(talk)
            gateway.serve.hear("wake")
            gateway.release(server.socket.getsockname())
            assert said.result() == "x"


def test_the_app_ending_ends_the_client(gateway: Gateway) -> None:
    with echo_server() as server:
        gateway.open(server.socket.getsockname())
        with dial(gateway) as chat:
            server.shutdown()
            with pytest.raises(ConnectionClosed):
                chat.recv(10)


def test_an_app_that_refuses_the_upgrade_is_heard(gateway: Gateway, app: Apps) -> None:
    gateway.open(app(say(b"no", status="403 Forbidden")).address)
    with pytest.raises(InvalidStatus) as caught:
        dial(gateway)
    assert caught.value.response.status_code == 403


def test_no_tunnel_before_101(gateway: Gateway, app: Apps) -> None:
    """Bytes sent early wait; they are no second request and do not reach the app before it agreed."""
    early: list[bytes] = []

    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        early.append(rest)
        web.gate.wait(10)
        connection.sendall(
            b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst"
        )
        connection.sendall(connection.recv(100))
        return False

    web = app(handle)
    gateway.open(web.address)
    with gateway.connect() as connection:
        connection.sendall(get(Connection="keep-alive, Upgrade", Upgrade="websocket") + get("/smuggled"))
        eventually(lambda: early)
        web.gate.set()
        reply = Reply.read(connection)
        assert reply.status == 101 and reply.headers["upgrade"] == "websocket"
        data = reply.rest
        while len(data) < len(b"first" + get("/smuggled")):
            data += connection.recv(100)
        assert data == b"first" + get("/smuggled")
        assert connection.recv(1) == b""
    assert early == [b""] and len(web.heads) == 1
    assert b"Connection: Upgrade\r\nUpgrade: websocket" in web.heads[0]


@pytest.mark.parametrize("upgrade", ["websocket", "other"])
def test_a_switch_nobody_asked_for_is_no_answer(gateway: Gateway, app: Apps, upgrade: str) -> None:
    gateway.open(app(f"HTTP/1.1 101 x\r\nUpgrade: {upgrade}\r\nConnection: upgrade\r\n\r\n".encode()).address)
    assert gateway.get().status == 502


def test_events_pass_as_they_come(gateway: Gateway, app: Apps) -> None:
    step = threading.Semaphore(0)

    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(3):
            assert step.acquire(timeout=10)
            connection.sendall(b"9\r\ndata: %d\n\n\r\n" % number)
        connection.sendall(b"0\r\n\r\n")
        return True

    gateway.open(app(handle).address)
    with gateway.connect() as connection:
        connection.sendall(get())
        data = b""
        for number in range(3):
            step.release()
            while b"data: %d\n\n" % number not in data:
                data += connection.recv(1000)
        while not data.endswith(b"0\r\n\r\n"):
            data += connection.recv(1000)
