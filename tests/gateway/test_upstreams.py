"""Connections to tasks: pooling, balance, what happens when they refuse, close or do not answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.gateway.harness import (
    DEPLOYMENT,
    HOST,
    TASK,
    App,
    Gateway,
    Reply,
    answering,
    body_of,
    get,
    say,
    target,
)
from tests.support import eventually

Apps = Callable[..., App]


def dead_address() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: tuple[str, int] = listener.getsockname()
    return address


def post(body: bytes = b"body") -> bytes:
    return f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_connections_are_pooled(gateway: Gateway, app: Apps) -> None:
    web = app()
    gateway.open(web.address)
    for _ in range(20):
        assert gateway.get().status == 200
    assert web.connections == 1


@pytest.mark.parametrize("header", ["Connection: close", "Connection: Close, x"])
def test_nothing_is_pooled_after_connection_close(gateway: Gateway, app: Apps, header: str) -> None:
    web = app(say(b"hello", header))
    gateway.open(web.address)
    with gateway.connect() as connection:
        for _ in range(5):
            connection.sendall(get())
            reply = Reply.read(connection)
            assert reply.body == b"hello" and "connection" not in reply.headers
    assert web.connections == 5


def test_bytes_after_an_answer_spoil_the_connection(gateway: Gateway, app: Apps) -> None:
    web = app(say() + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    gateway.open(web.address)
    for _ in range(5):
        assert gateway.get().body == b"hello"


def test_the_pool_is_dropped_with_its_task(gateway: Gateway, app: Apps) -> None:
    """Another task at the same address gets connections of its own."""
    web = app()
    gateway.open(web.address)
    assert gateway.serve
    gateway.get()
    other = TASK[:-1] + "7"
    gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=[target(web.address, other)])
    eventually(lambda: not web.active and gateway.get().status == 200 and web.connections == 2)


def test_least_in_flight_first_and_equals_in_turn(gateway: Gateway, app: Apps) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        if b"/slow" in head:
            web.gate.wait(10)
        connection.sendall(say())
        return True

    apps = [app(handle) for _ in range(3)]
    gateway.sleep()
    gateway.release(*(web.address for web in apps), slow_start=False)
    for _ in range(9):
        assert gateway.get().status == 200
    assert [len(web.heads) for web in apps] == [3, 3, 3]
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(gateway.get, "/slow") for _ in range(2)]
        eventually(lambda: sum(web.active for web in apps) == 2)
        idle = next(web for web in apps if not web.active)
        before = len(idle.heads)
        for _ in range(6):
            gateway.get()
        assert len(idle.heads) == before + 6
        for web in apps:
            web.gate.set()
        assert [one.result().status for one in slow] == [200, 200]


@pytest.mark.parametrize("request_", [get(), post()])
def test_refused_means_another_task_for_any_method(gateway: Gateway, app: Apps, request_: bytes) -> None:
    web = app()
    gateway.sleep()
    gateway.release(dead_address(), web.address, dead_address(), slow_start=False)
    for _ in range(6):
        assert gateway.ask(request_).status == 200
    assert len(web.heads) == 6


def test_a_refused_request_waits_for_the_next_task(gateway: Gateway, app: Apps) -> None:
    """The only task has just died and nobody has told us yet."""
    gateway.open(dead_address())
    assert gateway.serve
    web = app()
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(gateway.ask, post()) for _ in range(4)]
        eventually(lambda: "task refuses connections" in gateway.log())
        gateway.release()
        gateway.serve.hear("wake")
        gateway.release(web.address)
        assert [answer.result().status for answer in answers] == [200] * 4
    assert web.bodies == [b"body"] * 4


def test_an_app_that_comes_back_to_its_address_is_found(gateway: Gateway) -> None:
    address = dead_address()
    gateway.open(address)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get)
        eventually(lambda: "task refuses connections" in gateway.log())
        listener = socket.create_server(address)
        listener.settimeout(5)
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(say())
        assert answer.result().status == 200
        connection.close()
        listener.close()


def test_a_task_that_keeps_refusing_is_given_up(gateway: Gateway) -> None:
    gateway.open(dead_address())
    reply = gateway.get(timeout=15)
    assert (reply.status, reply.problem["code"]) == (502, "UPSTREAM_CLOSED")


def closing_after_first(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
    """Keeps the connection after its first answer, then closes without a word when asked again."""
    body_of(connection, head, rest)
    first = getattr(web, "served", None) is None
    if first:
        web.served = True  # type: ignore[attr-defined]
        connection.sendall(say())
        return True
    web.served = None  # type: ignore[attr-defined]
    return False


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_pooled_connection_that_was_closed_is_tried_once_more(
    gateway: Gateway, app: Apps, method: str
) -> None:
    web = app(closing_after_first)
    gateway.open(web.address)
    request = f"{method} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    assert gateway.get().status == 200
    assert gateway.ask(request).status == 200
    assert (web.connections, len(web.heads)) == (2, 3)


def test_a_post_on_a_pooled_connection_is_never_repeated(gateway: Gateway, app: Apps) -> None:
    web = app(closing_after_first)
    gateway.open(web.address)
    assert gateway.get().status == 200
    reply = gateway.ask(post())
    assert (reply.status, reply.problem["code"]) == (502, "UPSTREAM_CLOSED")
    assert len(web.heads) == 2


def test_an_app_that_closes_a_fresh_connection_is_asked_once(gateway: Gateway, app: Apps) -> None:
    web = app(lambda *_: False)
    gateway.open(web.address)
    assert gateway.get().status == 502
    assert len(web.heads) == 1


def test_a_request_that_a_dying_app_never_read_waits_for_the_next_task(gateway: Gateway, app: Apps) -> None:
    """The kernel took the connection, and nobody accepts it any more."""
    dying = socket.create_server(("127.0.0.1", 0))
    address = dying.getsockname()
    gateway.open(address)
    assert gateway.serve
    web = app()
    with ThreadPoolExecutor(2) as pool:
        safe, unsafe = pool.submit(gateway.get), pool.submit(gateway.ask, post())
        eventually(lambda: connections_to(address) == 2)
        dying.close()
        reply = unsafe.result()
        assert (reply.status, reply.problem["code"]) == (502, "UPSTREAM_CLOSED")
        eventually(
            lambda: gateway.log().count("task refuses connections") > 3
        )  # waited for, and not given up
        gateway.release()
        gateway.serve.hear("wake")
        gateway.release(web.address)
        assert safe.result().status == 200
    assert len(web.heads) == 1


def connections_to(address: tuple[str, int]) -> int:
    """How many are open, accepted or not."""
    open_ = [one for one in psutil.net_connections("tcp4") if one.status == psutil.CONN_ESTABLISHED]
    return sum(one.raddr == address for one in open_)


def test_a_connection_the_app_closed_while_pooled_is_not_used(gateway: Gateway, app: Apps) -> None:
    web = app(answering(say(), keep=False))
    gateway.open(web.address)
    for _ in range(5):
        assert gateway.ask(post()).status == 200
        eventually(lambda: not web.open)


def test_no_answer_in_time(tmp_path: Path, app: Apps) -> None:
    gateway = Gateway(tmp_path, "--answer-timeout", "1")
    try:

        def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
            if b"/slow-body" in head:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
                threading.Event().wait(2.5)
                connection.sendall(b"b")
                return True
            web.gate.wait(10)
            return False

        gateway.open(app(handle).address)
        with ThreadPoolExecutor(2) as pool:
            body = pool.submit(gateway.get, "/slow-body")
            reply = gateway.get()
            assert (reply.status, reply.problem["code"]) == (504, "UPSTREAM_TIMEOUT")
            assert body.result().body == b"ab"
    finally:
        gateway.stop()


def test_a_client_that_leaves_ends_the_exchange(gateway: Gateway, app: Apps) -> None:
    ended = threading.Event()

    def handle(_: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        connection.settimeout(10)
        if not connection.recv(1):
            ended.set()
        return False

    gateway.open(app(handle).address)
    assert gateway.serve
    serve = gateway.serve
    with gateway.connect() as connection:
        connection.sendall(get())
        eventually(lambda: any(m["op"] == "load" and m["total_inflight"] == 1 for m in serve.heard))
    assert ended.wait(5)
    eventually(lambda: serve.requests() == {"499": 1})
    serve.hear("quiet")


def test_thousands_of_answers_cost_no_connection(gateway: Gateway, app: Apps) -> None:
    web = app()
    gateway.open(web.address)
    with gateway.connect() as connection:
        for number in range(2000):
            connection.sendall(get(f"/{number}"))
            assert Reply.read(connection).status == 200
    assert web.connections == 1
