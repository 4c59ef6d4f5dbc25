"""Requests to an app that sleeps: held, woken once, released in order, or failed."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from platformd.gateway.protocol import WAITS
from tests.gateway.harness import DEPLOYMENT, HOST, App, Gateway, Reply, body_of, get, say, target
from tests.support import eventually

Apps = Callable[..., App]


def held(gateway: Gateway) -> int:
    """How many requests the gateway last said it holds."""
    assert gateway.serve
    for message in reversed(gateway.serve.heard):
        if message["op"] == "load" and DEPLOYMENT in message["deployments"]:
            return int(message["deployments"][DEPLOYMENT]["held"])
    return 0


def hold(gateway: Gateway, count: int, request: bytes = get()) -> list[socket.socket]:
    """Connections with one held request each, in this order."""
    connections = []
    for _ in range(count):
        connections.append(gateway.connect(20))
        connections[-1].sendall(request)
    eventually(lambda: held(gateway) == count)
    return connections


def replies(connections: list[socket.socket]) -> list[Reply]:
    answers = [Reply.read(connection) for connection in connections]
    for connection in connections:
        connection.close()
    return answers


def test_one_wake_for_any_number_of_requests(gateway: Gateway, app: Apps) -> None:
    gateway.sleep()
    assert gateway.serve
    waiting = hold(gateway, 20)
    web = app()
    gateway.release(web.address)
    answers = replies(waiting)
    assert [reply.status for reply in answers] == [200] * 20
    assert all(float(reply.headers["server-timing"].removeprefix("wake;dur=")) > 0 for reply in answers)
    assert gateway.serve.count("wake") == 1
    assert web.most_active <= 8
    assert "server-timing" not in gateway.get().headers


def test_how_long_they_were_held_is_reported(gateway: Gateway, app: Apps) -> None:
    gateway.sleep()
    assert gateway.serve
    waiting = hold(gateway, 10)  # told of by a report, which comes once a second at the most
    gateway.release(app().address)
    replies(waiting)
    heard = gateway.serve.heard

    def loads() -> list[dict[str, Any]]:
        return [message for message in [*heard] if message["op"] == "load" and "waits" in message]

    eventually(lambda: sum(sum(load["waits"]) for load in loads()) == 10)
    assert all(len(load["waits"]) == len(WAITS) + 1 for load in loads())
    assert 0 < sum(load["waited"] for load in loads()) < 10 * 20
    gateway.get()
    reports = eventually(
        lambda: len(loads()) if gateway.serve and gateway.serve.requests()["2xx"] == 11 else 0
    )
    assert sum(sum(load["waits"]) for load in loads()[:reports]) == 10, "what is not held does not wait"


def test_slow_start_begins_with_four_and_widens_with_answers(gateway: Gateway, app: Apps) -> None:
    arrived: list[int] = []

    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        arrived.append(web.active)
        web.gate.wait(10)
        connection.sendall(say())
        return True

    gateway.sleep()
    waiting = hold(gateway, 60)
    web = app(handle)
    gateway.release(web.address)
    eventually(lambda: len(arrived) == 4)
    gateway.get(host="nobody")
    assert len(arrived) == 4 and web.connections == 4
    web.gate.set()
    assert {reply.status for reply in replies(waiting)} == {200}


def test_a_full_queue_answers_fast(gateway: Gateway, app: Apps) -> None:
    gateway.sleep(queue_limit=50)
    waiting = hold(gateway, 50)
    for _ in range(10):
        began = time.monotonic()
        reply = gateway.get()
        assert time.monotonic() - began < 0.5
        assert (reply.status, reply.problem["code"]) == (503, "WAKE_QUEUE_FULL")
        assert int(reply.headers["retry-after"]) >= 1
    gateway.release(app().address)
    assert [reply.status for reply in replies(waiting)] == [200] * 50


def test_clients_that_leave_free_their_places(gateway: Gateway, app: Apps) -> None:
    gateway.sleep(queue_limit=40)
    assert gateway.serve
    leaving = hold(gateway, 30, get("/gone"))
    for connection in leaving[:10]:
        connection.shutdown(socket.SHUT_WR)
    for connection in leaving[10:20]:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    for connection in leaving:
        connection.close()
    serve = gateway.serve
    eventually(lambda: serve.requests().get("499") == 30)
    waiting = hold(gateway, 40)
    assert gateway.get().status == 503
    web = app()
    gateway.release(web.address)
    assert [reply.status for reply in replies(waiting)] == [200] * 40
    assert len(web.heads) == 40 and not [head for head in web.heads if b"/gone" in head]
    eventually(lambda: serve.requests() == {"499": 30, "2xx": 40, "5xx": 1})


def test_a_client_whose_body_is_held_back_is_seen_leaving(gateway: Gateway) -> None:
    gateway.sleep()
    assert gateway.serve
    serve = gateway.serve
    connection = gateway.connect()
    connection.sendall(
        f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 300000\r\n\r\n".encode() + bytes(80_000)
    )
    eventually(lambda: held(gateway) == 1)
    connection.close()
    eventually(lambda: serve.requests().get("499") == 1)
    eventually(lambda: held(gateway) == 0)


def test_a_large_post_is_held_in_little_memory(gateway: Gateway, app: Apps) -> None:
    payload = os.urandom(20_000_000)

    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        connection.sendall(say(hashlib.sha256(body_of(connection, head, rest)).hexdigest().encode()))
        return True

    gateway.sleep()
    assert gateway.serve
    before = gateway.memory()
    with ThreadPoolExecutor(1) as pool:
        head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
        answer = pool.submit(gateway.ask, head + payload, 30)
        gateway.serve.hear("wake")
        eventually(lambda: held(gateway) == 1)
        assert gateway.memory() - before < 2_000_000
        gateway.release(app(handle).address)
        assert answer.result().body == hashlib.sha256(payload).hexdigest().encode()
    assert gateway.memory() - before < 5_000_000


def test_two_thousand_held_posts_stay_within_the_total(gateway: Gateway, app: Apps) -> None:
    gateway.sleep(queue_limit=10_000)
    before = gateway.memory()
    head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 60000\r\n\r\n".encode()
    connections = [gateway.connect(30) for _ in range(2000)]
    for connection in connections:
        connection.setblocking(False)
        connection.send(head + bytes(60_000))
    eventually(lambda: held(gateway) == 2000)
    assert gateway.memory() - before < 90_000_000
    web = app()
    gateway.release(web.address)
    for connection in connections:
        connection.settimeout(30)
    statuses = [reply.status for reply in replies(connections)]
    assert statuses == [200] * 2000
    assert {len(body) for body in web.bodies} == {60_000}


def test_a_client_that_waits_for_100_continue_gets_it_only_after_release(gateway: Gateway, app: Apps) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        web.bodies.append(body_of(connection, head, rest))
        connection.sendall(say())
        return True

    gateway.sleep()
    request = f"PUT / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    [connection] = hold(gateway, 1, request.encode())
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(10)
    gateway.release(app(handle).address)
    assert Reply.read(connection).status == 100
    connection.sendall(b"body")
    assert replies([connection])[0].status == 200


def test_a_pipelined_request_waits_with_the_held_one(gateway: Gateway, app: Apps) -> None:
    gateway.sleep()
    [connection] = hold(gateway, 1, get("/1") + get("/2"))
    web = app()
    gateway.release(web.address)
    first = Reply.read(connection)
    assert Reply.read(connection, first.rest).status == 200
    assert [head.split()[1] for head in web.heads] == [b"/1", b"/2"]
    connection.close()


def test_a_wake_that_fails_fails_all_and_the_next_request_wakes_again(gateway: Gateway) -> None:
    gateway.sleep()
    assert gateway.serve
    waiting = hold(gateway, 10)
    failure = {
        "status": 502,
        "code": "WAKE_CRASHED",
        "detail": "exited",
        "exit_code": 3,
        "last_lines": ["boom <x>"],
    }
    gateway.serve.send(op="wake_failed", deployment=DEPLOYMENT, **failure)
    for reply in replies(waiting):
        assert (reply.status, reply.problem["code"]) == (502, "WAKE_CRASHED")
        assert "last_lines" not in reply.problem and "exit_code" not in reply.problem
    gateway.serve.send(op="errors", full=True)
    [connection] = hold(gateway, 1)
    gateway.serve.hear("wake", 2)
    gateway.serve.send(op="wake_failed", deployment=DEPLOYMENT, retry_after=7, phase="starting", **failure)
    [reply] = replies([connection])
    assert (reply.problem["exit_code"], reply.problem["last_lines"]) == (3, ["boom <x>"])
    assert reply.headers["retry-after"] == "7" and reply.problem["phase"] == "starting"


def test_the_gateway_gives_up_by_itself_naming_the_phase(gateway: Gateway) -> None:
    gateway.sleep(wake_timeout=2)
    assert gateway.serve
    began = time.monotonic()
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(gateway.get) for _ in range(5)]
        gateway.serve.hear("wake")
        gateway.serve.send(op="wake_phase", deployment=DEPLOYMENT, phase="starting")
        for answer in answers:
            problem = answer.result().problem
            assert (problem["status"], problem["code"], problem["phase"]) == (504, "WAKE_TIMEOUT", "starting")
            assert "starting" in problem["detail"]
    assert 2.0 <= time.monotonic() - began < 3.0
    [connection] = hold(gateway, 1)
    gateway.serve.hear("wake", 2)
    connection.close()


def test_what_may_not_be_woken_is_refused_at_once(gateway: Gateway) -> None:
    refusal = {"status": 503, "code": "BACKING_OFF", "detail": "crashed", "retry_after": 9}
    gateway.sleep(wakeable=False, refusal=refusal)
    reply = gateway.get()
    assert (reply.status, reply.problem["code"], reply.headers["retry-after"]) == (503, "BACKING_OFF", "9")
    assert gateway.serve and gateway.serve.count("wake") == 0


def test_held_requests_are_refused_when_waking_becomes_forbidden(gateway: Gateway) -> None:
    gateway.sleep()
    assert gateway.serve
    waiting = hold(gateway, 2)
    refusal = {"status": 503, "code": "NO_DEPLOYMENT", "detail": "cancelled"}
    gateway.serve.send(op="routes", deployments={DEPLOYMENT: {"wakeable": False, "refusal": refusal}})
    assert {reply.problem["code"] for reply in replies(waiting)} == {"NO_DEPLOYMENT"}
    gateway.sleep()
    waiting = hold(gateway, 1)
    gateway.serve.send(op="routes", deployments={DEPLOYMENT: None}, hosts={HOST: None})
    assert replies(waiting)[0].status == 503, gateway.serve.heard
    assert gateway.get().status == 404


def test_tasks_that_vanish_during_the_release_wake_anew(gateway: Gateway, app: Apps) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        web.gate.wait(10)
        connection.sendall(say())
        return True

    gateway.sleep()
    assert gateway.serve
    waiting = hold(gateway, 8)
    web = app(handle)
    gateway.release(web.address)
    eventually(lambda: web.active == 4)
    gateway.release()
    gateway.serve.hear("wake", 2)
    gateway.release(app().address)
    web.gate.set()
    assert {reply.status for reply in replies(waiting)} == {200}


def test_hosts_nobody_told_us_about_wait_for_the_first_table(tmp_path: Path, app: Apps) -> None:
    gateway = Gateway(tmp_path)
    try:
        assert gateway.serve
        gateway.serve.hear("hello")
        with ThreadPoolExecutor(2) as pool:
            known, unknown = pool.submit(gateway.get), pool.submit(gateway.get, host="nobody")
            gateway.serve.send(op="reset", epoch=1)
            gateway.serve.send(op="routes", hosts={HOST: DEPLOYMENT}, deployments={DEPLOYMENT: {}})
            gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=[target(app().address)])
            threading.Event().wait(0.2)
            assert not known.done() and not unknown.done()
            gateway.serve.send(op="synced")
            assert (known.result().status, unknown.result().status) == (200, 404)
    finally:
        gateway.stop()
