"""What a browser's navigation sees of a slow wake, and what its page is told; API clients see none of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from platformd.gateway.pages import WAKE_PATH
from tests.gateway.harness import DEPLOYMENT, HOST, App, Gateway, Reply, get
from tests.gateway.test_hold import held, hold, replies
from tests.support import eventually

Apps = Callable[..., App]
Follow = Callable[..., "Follower"]
EVENTS = {"Accept": "text/event-stream"}


class Follower:
    """A page's EventSource."""

    def __init__(self, gateway: Gateway, host: str = HOST) -> None:
        self._connection: socket.socket = gateway.connect()
        self._connection.sendall(get(WAKE_PATH, host, **EVENTS))
        self.said = b""

    def until(self, text: bytes) -> bytes:
        while text not in self.said:
            data = self._connection.recv(65536)
            assert data, f"it ended before {text!r}: {self.said!r}"
            self.said += data
        return self.said

    def end(self) -> bytes:
        while data := self._connection.recv(65536):
            self.said += data
        return self.said

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def follow(gateway: Gateway) -> Iterator[Callable[..., Follower]]:
    """Opens streams as the waiting page does."""
    made: list[Follower] = []

    def open_one(host: str = HOST) -> Follower:
        made.append(Follower(gateway, host))
        return made[-1]

    yield open_one
    for follower in made:
        follower.close()


def failed(said: bytes) -> Any:
    return json.loads(said.partition(b"event: failed\ndata: ")[2].partition(b"\n")[0])


def test_a_navigation_gets_a_page_after_three_seconds_and_a_client_waits_on(
    gateway: Gateway, app: Apps
) -> None:
    gateway.sleep()
    assert gateway.serve
    api = hold(gateway, 1)
    with ThreadPoolExecutor(1) as pool:
        visit = pool.submit(gateway.get, "/x", Sec_Fetch_Mode="navigate")
        eventually(lambda: held(gateway) == 2)
        reply = visit.result()
    assert reply.status == 503
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["cache-control"] == "no-store"
    assert int(reply.headers["retry-after"]) >= 1
    assert "script-src 'sha256-" in reply.headers["content-security-policy"]
    assert b"http://" not in reply.body and b"https://" not in reply.body
    gateway.release(app().address)
    assert [answer.status for answer in replies(api)] == [200]
    assert gateway.serve.count("wake") == 1


def test_a_fast_wake_shows_the_app_to_a_navigation(gateway: Gateway, app: Apps) -> None:
    gateway.sleep()
    assert gateway.serve
    with ThreadPoolExecutor(1) as pool:
        visit = pool.submit(gateway.get, "/", Sec_Fetch_Mode="navigate")
        gateway.serve.hear("wake")
        gateway.release(app().address)
        assert visit.result().body == b"hello"


def test_a_follower_hears_phases_and_the_end(gateway: Gateway, app: Apps, follow: Follow) -> None:
    gateway.sleep()
    assert gateway.serve
    waiting = hold(gateway, 1)
    follower = follow()
    follower.until(b'event: phase\ndata: {"phase":"waking"}\n\n')
    gateway.release(app().address)
    assert follower.end().endswith(b"event: ready\ndata: {}\n\n")
    replies(waiting)
    assert follow().end().endswith(b"event: ready\ndata: {}\n\n"), "late ones hear it at once"


def test_a_follower_hears_why_a_wake_failed_also_when_it_comes_late(gateway: Gateway, follow: Follow) -> None:
    gateway.sleep()
    assert gateway.serve
    waiting = hold(gateway, 1)
    early = follow()
    early.until(b"waking")
    gateway.serve.send(
        op="wake_failed",
        deployment=DEPLOYMENT,
        status=502,
        code="WAKE_CRASHED",
        detail="it ended",
        last_lines=["x"],
    )
    assert [reply.status for reply in replies(waiting)] == [502]
    assert failed(early.end()) == {"code": "WAKE_CRASHED", "detail": "it ended"}
    assert failed(follow().end())["code"] == "WAKE_CRASHED"
    again = hold(gateway, 1)
    follow().until(b"waking")
    for connection in again:
        connection.close()


def test_following_wakes_nothing_and_is_no_activity(gateway: Gateway, follow: Follow) -> None:
    gateway.sleep()
    assert gateway.serve
    follower = follow()
    follower.until(b'{"phase":"asleep"}')
    gateway.serve.send(op="close", deployment=DEPLOYMENT, tasks=["t"], mode="idle", since=0)
    gateway.serve.hear("closed", mode="idle")
    assert gateway.serve.count("wake") == 0
    gateway.serve.send(op="wake_phase", deployment=DEPLOYMENT, phase="starting")
    follower.until(b'{"phase":"starting"}')
    gateway.serve.send(
        op="routes", deployments={DEPLOYMENT: {"wakeable": False, "refusal": {"code": "NO_DEPLOYMENT"}}}
    )
    assert failed(follower.end())["code"] == "NO_DEPLOYMENT"


@pytest.mark.parametrize("host", ["nobody"])
def test_nobody_to_follow(gateway: Gateway, host: str, follow: Follow) -> None:
    gateway.sleep()
    assert failed(follow(host).end())["code"] == "NO_HOST"


def test_asked_in_another_way_the_path_is_the_apps(gateway: Gateway, app: Apps) -> None:
    web = app()
    gateway.open(web.address)
    assert gateway.get(WAKE_PATH).body == b"hello"
    assert gateway.get(WAKE_PATH + "/more", **EVENTS).body == b"hello"
    assert len(web.heads) == 2


def test_a_follower_that_leaves_is_forgotten(gateway: Gateway, app: Apps, follow: Follow) -> None:
    gateway.sleep()
    follower = follow()
    follower.until(b"asleep")
    follower.close()
    gateway.release(app().address)
    assert gateway.get().status == 200


def test_a_page_says_what_a_problem_says(gateway: Gateway) -> None:
    gateway.sleep(wakeable=False, refusal={"code": "BACKING_OFF", "detail": "a < b", "retry_after": 7})
    reply: Reply = gateway.get(Sec_Fetch_Mode="navigate")
    assert (reply.status, reply.headers["retry-after"]) == (503, "7")
    assert b"a &lt; b" in reply.body and b"BACKING_OFF" in reply.body and b"in 7 s" in reply.body
    assert reply.headers["x-request-id"].encode() in reply.body
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert gateway.get().problem["code"] == "BACKING_OFF"
