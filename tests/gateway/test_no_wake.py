"""Requests that wake nothing: refused while the app sleeps, forwarded while it is awake, no reason to stay so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from platformd.gateway.protocol import NoWake
from platformd.gateway.rules import wakes_nothing
from tests.gateway.harness import DEPLOYMENT, TASK, App, Gateway
from tests.gateway.test_hold import hold, replies
from tests.gateway.test_idle import close, gated
from tests.support import eventually

Apps = Callable[..., App]
RULES = [{"path": "/up"}, {"user_agent": "bot"}, {"path": "/feed", "user_agent": "reader"}]


@pytest.mark.parametrize(
    ("target", "agent", "fits"),
    [
        (b"/up", b"", True),
        (b"/up/and?running", b"x", True),
        (b"/", b"", False),
        (b"/", b"Mozilla/5.0 (compatible; BigBot/1)", True),
        (b"/feed", b"other", False),
        (b"/feed.xml", b"Reader 1", True),
        (b"/x", b"reader", False),
    ],
)
def test_all_that_a_rule_names_must_fit(target: bytes, agent: bytes, fits: bool) -> None:
    rules = [NoWake(**rule) for rule in RULES]
    headers = b"Host: app\r\nuser-agent: %b\r\nX-Note: up bot\r\n" % agent
    assert wakes_nothing(rules, target, headers) is fits


def test_asleep_it_is_refused_and_wakes_nothing(gateway: Gateway, app: Apps) -> None:
    gateway.sleep(no_wake=RULES)
    assert gateway.serve
    reply = gateway.get("/up")
    assert (reply.status, reply.problem["code"]) == (503, "ASLEEP")
    assert reply.headers["x-platformd-state"] == "asleep"
    assert gateway.serve.count("wake") == 0
    waiting = hold(gateway, 1)
    assert gateway.get("/", User_Agent="a Bot").headers["x-platformd-state"] == "waking"
    gateway.release(app().address)
    assert [reply.status for reply in replies(waiting)] == [200]
    assert gateway.get("/up").status == 200


def test_with_cold_start_off_the_state_is_said_too(gateway: Gateway) -> None:
    gateway.sleep(wakeable=False, refusal={"code": "ASLEEP"})
    reply = gateway.get()
    assert (reply.status, reply.problem["code"]) == (503, "ASLEEP")
    assert reply.headers["x-platformd-state"] == "asleep"


def test_it_keeps_nothing_awake(gateway: Gateway, app: Apps) -> None:
    web = app(gated)
    gateway.open(web.address, no_wake=RULES)
    assert gateway.serve
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get, "/up")
        eventually(lambda: web.active)
        close(gateway, "idle", since=0)
        gateway.serve.hear("closed", mode="idle")
        close(gateway, "drain", timeout=20)
        web.gate.set()
        assert answer.result().status == 200, "what is under way ends in peace all the same"
    gateway.serve.hear("closed", mode="drain")
    eventually(lambda: gateway.serve and gateway.serve.requests(DEPLOYMENT).get("2xx") == 1)
    assert gateway.serve.count("quiet") == 0


def test_beside_it_an_ordinary_request_is_activity_until_it_ends(gateway: Gateway, app: Apps) -> None:
    web = app(gated)
    gateway.open(web.address, no_wake=RULES)
    assert gateway.serve
    with ThreadPoolExecutor(2) as pool:
        ordinary = pool.submit(gateway.get)
        eventually(lambda: web.active == 1)
        passive = pool.submit(gateway.get, "/up")
        eventually(lambda: web.active == 2)
        close(gateway, "idle", since=0)
        assert gateway.serve.hear("busy")["tasks"] == [TASK]
        web.gate.set()
        assert {ordinary.result().status, passive.result().status} == {200}
    gateway.serve.hear("quiet", deployment=DEPLOYMENT)
