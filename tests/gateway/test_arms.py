"""Wakes that are armed: fired at the keeper, released when the task listens, taken back when serve says so."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from platformd.keeper import wire
from tests.gateway.harness import DEPLOYMENT, TASK, App, Gateway, Reply, get, target
from tests.support import eventually

Apps = Callable[..., App]
SOON = 0.5


class FakeKeeper:
    """The keeper's end of its socket, for one gateway."""

    def __init__(self, folder: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(folder / wire.SOCKET_NAME))
        self._listener.listen()
        self._listener.settimeout(10)
        self._peer: socket.socket | None = None

    @property
    def peer(self) -> socket.socket:
        if self._peer is None:
            self._peer, _ = self._listener.accept()
            self._peer.settimeout(10)
        return self._peer

    def fired(self) -> str:
        """The task of the next shot."""
        got = wire.receive(self.peer)
        assert got is not None and got[0]["op"] == "fire"
        return str(got[0]["task"])

    def say(self, op: str, task: str = TASK, **fields: Any) -> None:
        wire.send(self.peer, {"op": op, "task": task, **fields})

    def close(self) -> None:
        for sock in (self._listener, self._peer):
            if sock is not None:
                sock.close()


@pytest.fixture
def keeper(tmp_path: Path, no_leaks: None) -> Iterator[FakeKeeper]:
    keeper = FakeKeeper(tmp_path)
    yield keeper
    keeper.close()


@pytest.fixture
def armed(keeper: FakeKeeper, gateway: Gateway, app: Apps) -> App:
    """An app that sleeps as far as the gateway knows, armed on the port that it listens on."""
    web = app()
    gateway.sleep()
    arm(gateway, web.address[1])
    assert keeper.peer
    return web


def arm(gateway: Gateway, port: int | None, *, plain: bool = True) -> None:
    assert gateway.serve
    answers = gateway.serve.count("closed")
    gateway.serve.send(op="armed", deployment=DEPLOYMENT, task=TASK, port=port, plain=plain)
    # What is said on one connection is heard in order: an answer to a later question shows that this was.
    gateway.serve.send(op="close", deployment="nobody", tasks=[], mode="drain")
    gateway.serve.hear("closed", count=answers + 1)


def request(gateway: Gateway) -> socket.socket:
    connection = gateway.connect()
    connection.sendall(get())
    return connection


def answer(connection: socket.socket) -> Reply:
    with connection:
        return Reply.read(connection)


def test_a_fired_task_gets_the_request_before_serve_told_of_it(
    armed: App, keeper: FakeKeeper, gateway: Gateway
) -> None:
    waiting = request(gateway)
    assert keeper.fired() == TASK
    keeper.say("launched", pid=os.getpid())
    reply = answer(waiting)
    assert reply.status == 200
    assert reply.headers["server-timing"].startswith("wake;dur=")
    assert gateway.serve
    assert gateway.serve.hear("wake")["waited"] > 0
    gateway.serve.send(op="targets", deployment=DEPLOYMENT, tasks=[target(armed.address)])
    assert gateway.get().status == 200
    assert gateway.serve.count("wake") == 1
    assert armed.connections == 1, "it is the same task, whose connection goes on"


def test_a_listener_of_another_process_is_not_the_tasks(
    armed: App, keeper: FakeKeeper, gateway: Gateway
) -> None:
    waiting = request(gateway)
    keeper.fired()
    keeper.say("launched", pid=gateway.process.pid)
    assert gateway.serve
    gateway.serve.hear("wake")
    waiting.settimeout(SOON)
    with pytest.raises(TimeoutError):
        waiting.recv(1)
    assert not armed.heads
    waiting.settimeout(10)
    gateway.release(armed.address)
    assert answer(waiting).status == 200


def test_what_has_to_be_asked_for_its_health_waits_for_serve(
    armed: App, keeper: FakeKeeper, gateway: Gateway
) -> None:
    arm(gateway, armed.address[1], plain=False)
    waiting = request(gateway)
    keeper.fired()
    keeper.say("launched", pid=os.getpid())
    assert gateway.serve
    gateway.serve.hear("wake")
    waiting.settimeout(SOON)
    with pytest.raises(TimeoutError):
        waiting.recv(1)
    assert not armed.heads
    waiting.settimeout(10)
    gateway.release(armed.address)
    assert answer(waiting).status == 200


def test_serve_is_asked_for_what_cannot_be_fired(armed: App, keeper: FakeKeeper, gateway: Gateway) -> None:
    waiting = request(gateway)
    keeper.fired()
    keeper.say("unarmed")
    assert gateway.serve
    gateway.serve.hear("wake")
    gateway.release(armed.address)
    assert answer(waiting).status == 200


def test_serve_is_asked_when_the_keeper_says_nothing(
    armed: App, keeper: FakeKeeper, gateway: Gateway
) -> None:
    waiting = request(gateway)
    keeper.fired()
    assert gateway.serve
    began = time.monotonic()
    gateway.serve.hear("wake")
    assert time.monotonic() - began < SOON
    gateway.release(armed.address)
    assert answer(waiting).status == 200


def test_what_was_disarmed_is_not_fired(armed: App, gateway: Gateway, keeper: FakeKeeper) -> None:
    arm(gateway, None)
    waiting = request(gateway)
    assert gateway.serve
    gateway.serve.hear("wake", waited=0.0)
    gateway.release(armed.address)
    assert answer(waiting).status == 200
    keeper.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        keeper.fired()


def test_nothing_is_fired_without_serve(armed: App, gateway: Gateway, keeper: FakeKeeper) -> None:
    assert gateway.serve
    gateway.serve.die()
    eventually(lambda: "connection to serve lost" in gateway.log())
    waiting = request(gateway)
    gateway.serve.listen()
    gateway.serve.hear("hello", count=2)
    gateway.sleep()
    gateway.serve.hear("wake", waited=0.0)
    gateway.release(armed.address)
    assert answer(waiting).status == 200
    keeper.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        keeper.fired()


@pytest.mark.parametrize(
    "word",
    [
        {"op": "wake_failed", "status": 502, "code": "WAKE_CRASHED", "detail": "It crashed."},
        {"op": "wake_phase", "phase": "draining"},
        {"op": "targets", "tasks": []},
    ],
    ids=lambda word: str(word["op"]),
)
def test_a_wake_that_comes_to_nothing_leaves_no_task_behind(
    armed: App, keeper: FakeKeeper, gateway: Gateway, word: dict[str, Any]
) -> None:
    waiting = request(gateway)
    keeper.fired()
    keeper.say("launched", pid=os.getpid())
    assert answer(waiting).status == 200
    assert gateway.serve
    gateway.serve.hear("wake")
    gateway.serve.send(deployment=DEPLOYMENT, **word)
    arm(gateway, None)
    next_one = request(gateway)
    gateway.serve.hear("wake", count=2)
    gateway.release(armed.address)
    assert answer(next_one).status == 200


def test_of_a_storm_so_many_start_at_once_and_a_line_that_stands_is_serves(
    keeper: FakeKeeper, gateway: Gateway, app: Apps
) -> None:
    places = 2 * len(os.sched_getaffinity(0))
    web = app()
    names = {f"d{number}": f"{number}.localhost" for number in range(places + 2)}
    assert gateway.serve
    gateway.serve.hear("hello")
    gateway.serve.sync({host: name for name, host in names.items()}, {name: {} for name in names})
    for name in names:
        gateway.serve.send(op="armed", deployment=name, task=f"t-{name}", port=web.address[1], plain=True)
    assert keeper.peer
    arm(gateway, None)
    waiting = [gateway.connect() for _ in names]
    for connection, host in zip(waiting, names.values(), strict=True):
        connection.sendall(get(host=host))
    fired = [keeper.fired() for _ in range(places)]
    assert len(set(fired)) == places
    for name in names:  # the last two by themselves, the others since they take long
        gateway.serve.hear("wake", deployment=name)
    for task in fired:
        keeper.say("launched", task, pid=os.getpid())
    for name in names.keys() - {task.removeprefix("t-") for task in fired}:
        gateway.serve.send(
            op="targets", deployment=name, tasks=[target(web.address, f"u-{name}", slow_start=True)]
        )
    assert [answer(connection).status for connection in waiting] == [200] * len(names)
