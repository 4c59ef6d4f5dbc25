"""The gateway and serve: full tables, deltas, and serve dying and coming back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.gateway.harness import DEPLOYMENT, HOST, App, FakeServe, Gateway, say, target
from tests.gateway.test_idle import gated
from tests.support import eventually

Apps = Callable[..., App]


def test_serve_dies_and_comes_back_while_requests_are_held_and_in_flight(gateway: Gateway, app: Apps) -> None:
    busy, sleeper = app(gated), app()
    gateway.open(busy.address)
    serve = gateway.serve
    assert serve
    routes = {HOST: DEPLOYMENT, "b.localhost": "b"}
    open_tasks = {DEPLOYMENT: [target(busy.address)]}
    serve.sync(routes, {DEPLOYMENT: {}, "b": {}}, open_tasks)
    with ThreadPoolExecutor(12) as pool:
        flying = pool.submit(gateway.get)
        eventually(lambda: busy.active)
        held = [pool.submit(gateway.get, host="b.localhost", timeout=20) for _ in range(5)]
        serve.hear("wake", deployment="b")
        serve.die()
        warm = pool.submit(gateway.get)
        late = pool.submit(gateway.get, host="b.localhost", timeout=20)
        eventually(lambda: busy.active == 2)
        assert not any(one.done() for one in held)
        serve.listen()
        hello = serve.hear("hello", 2)
        assert (
            hello["epoch"] == 2 and hello["activity"][DEPLOYMENT] is None and hello["activity"]["b"] is None
        )
        assert hello["targets"] == {DEPLOYMENT: [target(busy.address)["task"]]}
        assert hello["held"]["b"] >= 5
        serve.sync(routes, {DEPLOYMENT: {}, "b": {}}, open_tasks)
        serve.hear("wake", 2, deployment="b")
        serve.send(op="targets", deployment="b", tasks=[target(sleeper.address, "b-task")])
        assert {one.result().status for one in [*held, late]} == {200}
        busy.gate.set()
        assert (flying.result().status, warm.result().status) == (200, 200)
    assert busy.connections == 2, "the pool outlives the new table"
    assert gateway.get().status == 200 and busy.connections == 2


def test_a_held_request_survives_a_short_table_that_wakes_it_at_once(gateway: Gateway, app: Apps) -> None:
    gateway.sleep()
    serve = gateway.serve
    assert serve
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get)
        serve.hear("wake")
        serve.die()
        serve.listen()
        serve.hear("hello", 2)
        serve.sync({HOST: DEPLOYMENT}, {DEPLOYMENT: {}}, {DEPLOYMENT: [target(app().address)]})
        assert answer.result().status == 200
    assert serve.count("wake") == 1


def test_hello_says_everything_even_when_there_is_nothing_to_say(gateway: Gateway) -> None:
    assert gateway.serve
    assert gateway.serve.hear("hello") == {
        "op": "hello", "v": 1, "pid": gateway.process.pid, "epoch": 0, "activity": {}, "targets": {}, "held": {}
    }  # fmt: skip


def test_a_half_sent_table_counts_for_nothing(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    serve = gateway.serve
    assert serve
    serve.send(op="reset", epoch=9)
    serve.send(op="routes", hosts={}, deployments={})
    serve.die()
    serve.listen()
    serve.hear("hello", 2)
    assert gateway.get().status == 200


def test_a_new_table_takes_effect_as_a_whole(gateway: Gateway, app: Apps) -> None:
    gateway.open(app(say(b"old")).address)
    serve = gateway.serve
    assert serve
    serve.send(op="reset", epoch=2)
    serve.send(op="routes", hosts={"new.localhost": "n"}, deployments={"n": {}})
    serve.send(op="targets", deployment="n", tasks=[target(app(say(b"new")).address, "n-task")])
    assert gateway.get().body == b"old"
    assert gateway.get(host="new.localhost").status == 404
    serve.send(op="synced")
    eventually(lambda: gateway.get(host="new.localhost").body == b"new")
    assert gateway.get().status == 404


def test_deltas(gateway: Gateway, app: Apps) -> None:
    gateway.open(app(say(b"one")).address)
    serve = gateway.serve
    assert serve
    serve.send(op="routes", deployments={"two": {"concurrency": 3, "unheard_of": 1}})
    serve.send(op="targets", deployment="two", tasks=[target(app(say(b"two")).address, "two-task")])
    serve.send(op="routes", hosts={HOST: "two"})
    eventually(lambda: gateway.get().body == b"two")
    serve.send(op="routes", hosts={HOST.upper(): DEPLOYMENT})
    eventually(lambda: gateway.get().body == b"one")
    serve.send(op="routes", hosts={HOST: None})
    eventually(lambda: gateway.get().status == 404)


def test_nonsense_from_serve_is_skipped(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    serve = gateway.serve
    assert serve
    serve.send(op="no such order")
    serve.send(op="targets", deployment=5)
    serve.send(op="targets", deployment="nobody", tasks=[])
    serve.send(op="wake_failed", deployment="nobody", status=1, code="", detail="")
    serve.send(op="wake_phase", deployment="nobody", phase="x")
    assert gateway.get().status == 200
    eventually(lambda: gateway.log().count("cannot be read") == 2)


def test_without_serve_it_waits_and_finds_it_whenever_it_comes(tmp_path: Path, app: Apps) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    gateway = Gateway(deep, serve=False)
    try:
        folder = os.open(deep, os.O_PATH)
        gateway.serve = FakeServe(Path(f"/proc/self/fd/{folder}"))
        os.close(folder)
        gateway.open(app().address)
        assert gateway.get().status == 200
    finally:
        gateway.stop()


def test_a_table_of_ten_thousand_is_small_and_quickly_taken(gateway: Gateway) -> None:
    serve = gateway.serve
    assert serve
    serve.hear("hello")
    before = gateway.memory()
    ids = [f"{number:08d}-1111-4111-8111-111111111111" for number in range(10_000)]
    hosts = {
        f"{kind}-{number}.localhost": ids[number] for number in range(10_000) for kind in ("app", "preview")
    }
    began = time.monotonic()
    serve.sync(hosts, {id: {"wakeable": True, "wake_timeout": 60} for id in ids})
    gateway._await_routes()
    assert time.monotonic() - began < 5
    assert (gateway.memory() - before) / 10_000 < 2000
