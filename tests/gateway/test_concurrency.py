"""At most so many requests at once in one task; the others queue, and go in the order of arrival."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.gateway.harness import DEPLOYMENT, App, Gateway, get, say, target
from tests.gateway.test_hold import held, hold, replies
from tests.support import eventually

Apps = Callable[..., App]


def test_with_concurrency_one_the_order_of_arrival_is_kept(gateway: Gateway, app: Apps) -> None:
    order: list[bytes] = []

    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        order.append(head.split()[1])
        connection.sendall(say())
        return True

    gateway.sleep(concurrency=1)
    connections = []
    for number in range(200):
        connections.append(gateway.connect())
        connections[-1].sendall(get(f"/{number}"))
        # The next only once this one is in the queue: another answer on the same loop says so.
        assert gateway.get(host="nobody").status == 404
    web = app(handle)
    gateway.release(web.address)
    assert {reply.status for reply in replies(connections)} == {200}
    assert order == [f"/{number}".encode() for number in range(200)]
    assert web.most_active == 1


def test_newcomers_queue_behind_the_held(gateway: Gateway, app: Apps) -> None:
    order: list[bytes] = []

    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        order.append(head.split()[1])
        if len(order) == 1:
            web.gate.wait(10)
        connection.sendall(say())
        return True

    gateway.sleep(concurrency=1)
    waiting = hold(gateway, 5)
    web = app(handle)
    gateway.release(web.address)
    eventually(lambda: len(order) == 1)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(gateway.get, "/late")
        eventually(lambda: held(gateway) == 5)
        web.gate.set()
        assert late.result().status == 200
    replies(waiting)
    assert order[-1] == b"/late"


def test_concurrency_holds_when_awake(gateway: Gateway, app: Apps) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        web.gate.wait(0.02)
        connection.sendall(say())
        return True

    apps = [app(handle), app(handle)]
    gateway.sleep(concurrency=2)
    gateway.release(*(web.address for web in apps), slow_start=False)
    with ThreadPoolExecutor(20) as pool:
        assert {reply.status for reply in pool.map(lambda _: gateway.get(), range(60))} == {200}
    assert [web.most_active for web in apps] == [2, 2]


def test_concurrency_holds_for_a_task_that_is_back_before_its_requests_ended(
    gateway: Gateway, app: Apps
) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        web.gate.wait(10)
        connection.sendall(say())
        return True

    web = app(handle)
    gateway.open(web.address, concurrency=2)
    assert gateway.serve
    with ThreadPoolExecutor(4) as pool:
        first = [pool.submit(gateway.get) for _ in range(2)]
        eventually(lambda: web.active == 2)
        gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=[])
        gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=[target(web.address)])
        more = [pool.submit(gateway.get) for _ in range(2)]
        eventually(lambda: held(gateway) == 2)
        web.gate.set()
        assert {answer.result().status for answer in first + more} == {200}
    assert web.most_active == 2


def test_the_queue_of_a_busy_app_is_bounded_and_no_cold_answer(gateway: Gateway, app: Apps) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        web.gate.wait(10)
        connection.sendall(say())
        return True

    web = app(handle)
    gateway.open(web.address, concurrency=1, queue_limit=3)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.get)
        eventually(lambda: web.active == 1)
        waiting = hold(gateway, 3)
        reply = gateway.get()
        assert (reply.status, reply.problem["code"]) == (503, "WAKE_QUEUE_FULL")
        assert int(reply.headers["retry-after"]) >= 1
        web.gate.set()
        assert first.result().status == 200
    answers = replies(waiting)
    assert [answer.status for answer in answers] == [200] * 3
    assert not any("server-timing" in answer.headers for answer in answers)
