"""Activity, quiet and Close: the gateway alone decides whether a task may receive requests."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from platformd import clock
from tests.gateway.harness import DEPLOYMENT, HOST, TASK, App, Gateway, Reply, get, say, target
from tests.support import eventually

Apps = Callable[..., App]


def gated(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
    web.gate.wait(10)
    connection.sendall(say())
    return True


def streaming(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    web.gate.wait(10)
    return False


def close(gateway: Gateway, mode: str, **fields: object) -> None:
    assert gateway.serve
    gateway.serve.send(op="close", deployment=DEPLOYMENT, tasks=[TASK], mode=mode, **fields)


def test_quiet_comes_a_second_after_the_last_activity_once(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    assert gateway.serve
    before = clock.boot_ns()
    gateway.get()
    quiet = gateway.serve.hear("quiet")
    assert before <= quiet["since"] <= clock.boot_ns() - 1_000_000_000
    gateway.get()
    second = gateway.serve.hear("quiet", 2)
    assert second["since"] > quiet["since"]
    assert gateway.serve.count("quiet") == 2


def test_a_request_in_flight_is_activity(gateway: Gateway, app: Apps) -> None:
    web = app(gated)
    gateway.open(web.address)
    assert gateway.serve
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get)
        gateway.serve.hear("load", total_inflight=1)
        close(gateway, "idle", since=clock.boot_ns())
        assert gateway.serve.hear("busy")["tasks"] == [TASK]
        assert gateway.serve.count("quiet") == 0
        web.gate.set()
        assert answer.result().status == 200
    gateway.serve.hear("quiet")


def test_activity_after_since_makes_it_busy(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    assert gateway.serve
    gateway.get()
    since = gateway.serve.hear("quiet")["since"]
    close(gateway, "idle", since=since - 1)
    gateway.serve.hear("busy")
    assert gateway.get().status == 200
    close(gateway, "idle", since=gateway.serve.hear("quiet", 2)["since"])
    assert gateway.serve.hear("closed")["mode"] == "idle"


def test_after_closed_a_request_is_held_and_wakes(gateway: Gateway, app: Apps) -> None:
    web = app()
    gateway.open(web.address)
    assert gateway.serve
    close(gateway, "idle", since=clock.boot_ns())
    gateway.serve.hear("closed")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get)
        gateway.serve.hear("wake")
        assert web.heads == []
        gateway.release(web.address)
        assert answer.result().status == 200
    operations = [message["op"] for message in gateway.serve.heard]
    assert operations.index("closed") < operations.index("wake")


@pytest.mark.parametrize("told_before", [False, True], ids=["at the close", "already"])
def test_a_drain_waits_for_requests_and_lets_no_new_one_in(
    gateway: Gateway, app: Apps, told_before: bool
) -> None:
    """Whether the task leaves the balance by the close itself or by a list of targets that came before it."""
    old, new = app(gated), app()
    gateway.open(old.address)
    assert gateway.serve
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get)
        eventually(lambda: old.active)
        if told_before:
            gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=[])
        close(gateway, "drain", timeout=20)
        eventually(
            lambda: gateway.serve and gateway.serve.send(op="wake_phase", deployment="x", phase="") is None
        )
        with ThreadPoolExecutor(1) as second:
            later = second.submit(gateway.get)
            gateway.serve.hear("wake")
            gateway.release(new.address)
            assert later.result().status == 200
        assert gateway.serve.count("closed") == 0
        old.gate.set()
        assert answer.result().status == 200
    assert gateway.serve.hear("closed", mode="drain")["tasks"] == [TASK]
    assert (len(old.heads), len(new.heads)) == (1, 1)


def test_a_drained_task_stays_out_though_serve_lists_it_once_more(gateway: Gateway, app: Apps) -> None:
    """A deployment that has not heard of it yet may be telling its targets at that very moment."""
    old, new = app(), app()
    gateway.open(old.address)
    assert gateway.serve
    close(gateway, "drain", timeout=20)
    gateway.serve.hear("closed", mode="drain")
    gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=[target(old.address)])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get)
        gateway.serve.hear("wake")
        gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=[])
        listed = [target(old.address), target(new.address, "another")]
        gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=listed)
        assert answer.result().status == 200
    assert (len(old.heads), len(new.heads)) == (0, 1)


def test_a_wake_that_came_to_a_drained_task_is_asked_for_anew(gateway: Gateway, app: Apps) -> None:
    """Its end overtook the news that it is ready; whoever is held must not wait for it."""
    old, new = app(), app()
    gateway.sleep()
    assert gateway.serve
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get)
        gateway.serve.hear("wake")
        close(gateway, "drain", timeout=20)
        gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=[target(old.address)])
        gateway.serve.hear("wake", 2)
        gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=[target(new.address, "another")])
        assert answer.result().status == 200
    assert (len(old.heads), len(new.heads)) == (0, 1)


@pytest.mark.parametrize("known", [True, False], ids=["a gateway that stayed", "a new gateway"])
def test_a_table_that_was_read_before_a_drain_does_not_undo_it(
    gateway: Gateway, app: Apps, known: bool
) -> None:
    old, new = app(), app()
    serve = gateway.serve
    assert serve
    if known:
        gateway.open(old.address)
    else:
        serve.hear("hello")
    serve.send(op="reset", epoch=9)
    serve.send(op="routes", hosts={HOST: DEPLOYMENT}, deployments={DEPLOYMENT: {}})
    serve.send(op="targets", deployment=DEPLOYMENT, tasks=[target(old.address)])
    close(gateway, "drain", timeout=20)
    serve.hear("closed", mode="drain")
    serve.send(op="synced")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get)
        serve.hear("wake")
        gateway.release(new.address)
        assert answer.result().status == 200
    assert (len(old.heads), len(new.heads)) == (0, 1)


def test_a_drain_gives_up_at_its_time_limit(gateway: Gateway, app: Apps) -> None:
    web = app(gated)
    gateway.open(web.address)
    assert gateway.serve
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get)
        eventually(lambda: web.active)
        close(gateway, "drain", timeout=0.5)
        gateway.serve.hear("closed")
        assert not answer.done()
        web.gate.set()
        assert answer.result().status == 200


def test_a_drain_does_not_wait_for_event_streams(gateway: Gateway, app: Apps) -> None:
    web = app(streaming)
    gateway.open(web.address)
    assert gateway.serve
    with gateway.connect() as connection:
        connection.sendall(get())
        eventually(lambda: b"data: 1" in connection.recv(65536))
        close(gateway, "idle", since=clock.boot_ns())
        gateway.serve.hear("busy")
        close(gateway, "drain", timeout=20)
        gateway.serve.hear("closed", mode="drain")
        web.gate.set()
        assert connection.recv(65536) == b""


def test_an_event_stream_is_activity_until_it_ends(gateway: Gateway, app: Apps) -> None:
    web = app(streaming)
    gateway.open(web.address)
    assert gateway.serve
    connection = gateway.connect()
    connection.sendall(get())
    eventually(lambda: b"data: 1" in connection.recv(65536))
    gateway.serve.hear("load", total_inflight=1)
    assert gateway.serve.count("quiet") == 0
    ended = clock.boot_ns()
    connection.close()
    assert gateway.serve.hear("quiet")["since"] >= ended
    web.gate.set()


def test_closes_of_unknown_deployments_and_tasks_are_answered(gateway: Gateway) -> None:
    gateway.sleep()
    assert gateway.serve
    for number, mode in enumerate(("idle", "drain"), 1):
        gateway.serve.send(op="close", deployment="nobody", tasks=["x"], mode=mode, since=0)
        gateway.serve.hear("closed", 1, deployment="nobody", mode=mode)
        close(gateway, mode, since=clock.boot_ns())
        gateway.serve.hear("closed", number, deployment=DEPLOYMENT)


def test_no_request_is_lost_to_the_race_with_the_idle_stop(gateway: Gateway, app: Apps) -> None:
    """An actor stops the task as soon as it hears Closed; a request at that instant must find another."""
    gateway.sleep()
    assert gateway.serve
    serve = gateway.serve
    chance = random.Random(7)
    with ThreadPoolExecutor(2) as pool:
        for cycle in range(60):
            web = app()
            serve.send(op="targets", deployment=DEPLOYMENT, tasks=[
                {"task": f"task-{cycle}", "address": list(web.address), "slow_start": True}
            ])  # fmt: skip
            delay = chance.random() * 0.004
            answer = pool.submit(lambda wait: (threading.Event().wait(wait), gateway.get())[1], delay)
            threading.Event().wait(chance.random() * 0.004)
            serve.send(op="close", deployment=DEPLOYMENT, tasks=[f"task-{cycle}"], mode="idle", since=2**62)
            closed = eventually(lambda n=cycle: verdict(serve.heard, f"task-{n}"), every=0.001)
            if closed == "closed":
                web.stop()
                replacement = app()
                serve.send(op="targets", deployment=DEPLOYMENT, tasks=[
                    {"task": f"again-{cycle}", "address": list(replacement.address), "slow_start": True}
                ])  # fmt: skip
            assert answer.result().status == 200


def verdict(heard: list[dict[str, object]], task: str) -> str | None:
    for message in [*heard]:
        if message["op"] in ("closed", "busy") and message["tasks"] == [task]:
            return str(message["op"])
    return None


def test_load_says_what_changed(gateway: Gateway, app: Apps) -> None:
    web = app(gated)
    gateway.open(web.address)
    assert gateway.serve
    serve = gateway.serve
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(gateway.get) for _ in range(3)]
        load = eventually(lambda: [m for m in serve.heard if m["op"] == "load" and m["total_inflight"] == 3])[
            -1
        ]
        assert load["deployments"][DEPLOYMENT]["inflight"] == 3
        web.gate.set()
        assert {answer.result().status for answer in answers} == {200}
    eventually(lambda: serve.requests() == {"2xx": 3})
    reports = serve.count("load")
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 1.5)
    assert serve.count("load") == reports
    with gateway.connect() as connection:
        connection.sendall(get())
        assert Reply.read(connection).status == 200
    eventually(lambda: serve.requests() == {"2xx": 4})
