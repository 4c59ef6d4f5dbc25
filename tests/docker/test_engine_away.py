"""An engine that goes away and comes back, and a service that does: silence proves nothing, and nothing is lost."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

from platformd.domain.events import Exited, ImageWanted, LaunchWaits, Probed
from platformd.drivers.docker.driver import CALLS_AT_ONCE
from platformd.drivers.docker.engine import Engine, EngineAway
from tests.docker.conftest import APP, make_images
from tests.docker.engine import CannotRun, DockerEngine
from tests.docker.proxy import tcp_proxy, unix_proxy
from tests.docker.registry import registry
from tests.docker.rig import DockerRig
from tests.docker.test_images import publish_a_new_one
from tests.support import eventually

pytestmark = pytest.mark.needs("engine")
COUNTED = 2000


@pytest.fixture(params=[["--live-restore"], []], ids=["live-restore", "plain"])
def either_engine(engine: DockerEngine, request: pytest.FixtureRequest) -> Iterator[DockerEngine]:
    """One that a test may stop; its containers outlive it, or end with it."""
    yield from _own(*request.param)


@pytest.fixture
def own_engine(engine: DockerEngine) -> Iterator[DockerEngine]:
    """One that a test may stop; its containers outlive it."""
    yield from _own("--live-restore")


def _own(*flags: str) -> Iterator[DockerEngine]:
    try:
        running = DockerEngine(*flags).start()
    except CannotRun as reason:
        pytest.skip(f"no second Docker engine: {reason}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            make_images(running, Path(folder))
        yield running
    finally:
        running.close()


def test_containers_that_outlive_the_engine_stay_running(own_engine: DockerEngine) -> None:
    rig = DockerRig(own_engine)
    try:
        order = rig.running()
        own_engine.stop()
        eventually(lambda: rig.driver.engine.away)
        assert rig.driver.stale(order.deployment_id)
        waiting = rig.order()
        rig.driver.launch(waiting)
        assert rig.wait(waiting, LaunchWaits).reason.code == "ENGINE_UNAVAILABLE"
        rig.driver.reconcile()
        own_engine.start()
        eventually(lambda: not rig.driver.engine.away, timeout=20)
        assert not rig.facts(order, Exited)
        rig.driver.signal(rig.task(order), "SIGTERM")
        assert rig.wait(order, Exited).exit.code == 0
    finally:
        rig.close()


def test_an_engine_that_never_answers_holds_up_nobody(engine: DockerEngine, tmp_path) -> None:
    path = str(tmp_path / "mute.sock")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(path)
        mute.listen(64)
        rig = DockerRig(engine, address=f"unix://{path}")
        try:
            eventually(lambda: rig.driver.engine.away, timeout=20)
            orders, threads = [rig.order() for _ in range(1000)], threading.active_count()
            for order in orders:
                rig.driver.launch(order)
            for order in orders:
                assert rig.wait(order, LaunchWaits).reason.code == "ENGINE_UNAVAILABLE"
            assert threading.active_count() <= threads + CALLS_AT_ONCE
        finally:
            rig.close()


@pytest.mark.parametrize("over", [unix_proxy, lambda path: tcp_proxy(str(path))], ids=["unix", "tcp"])
@pytest.mark.parametrize("way", ["sdk", "link"])
def test_an_answer_that_drips_is_none(
    engine: DockerEngine, over: Callable[..., Any], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is bounded as a whole: byte by byte, each in time, is as good as silence."""
    monkeypatch.setattr("platformd.drivers.docker.engine.CALL_SECS", 1.0)
    with over(engine.socket) as (proxy, address):
        troubles: list[str | None] = []
        asked = Engine(address if "://" in address else f"tcp://{address}", troubles.append)

        def ask() -> Any:
            return asked.call(methodcaller("info")) if way == "sdk" else asked.ask("GET", "/info")

        try:
            assert ask()["ServerVersion"]
            fault = proxy.fail(r"GET .*/info", drip=0.3)
            began = time.monotonic()
            with pytest.raises(EngineAway):
                ask()
            assert 0.9 < time.monotonic() - began < 5.0
            assert (fault.met, len(troubles)) == (1, 1)
            asked.found()
            assert ask()["ServerVersion"]
        finally:
            asked.close()


def test_output_goes_on_where_it_was_left(engine: DockerEngine) -> None:
    """The service is gone twice while it writes: every line once, in order."""
    rig = DockerRig(engine)
    try:
        order = rig.order({"LINES": COUNTED, "NO_LISTEN": 1}, net={"protocol": "none"})
        rig.driver.launch(order)
        for part in (COUNTED // 4, COUNTED // 2):
            eventually(lambda part=part: len(rig.output(order)) >= part, timeout=20)
            rig.restart()
            rig.driver.adopt(rig.task(order), order)
        eventually(lambda: len(rig.output(order)) >= COUNTED, timeout=20)
        assert rig.output(order) == [f"line {number}" for number in range(COUNTED)]
    finally:
        rig.close()


def test_a_container_of_no_task_is_removed(engine: DockerEngine) -> None:
    rig = DockerRig(engine)
    try:
        kept, stray = rig.running(), rig.running()
        rig.restart()
        rig.driver.adopt(rig.task(kept), kept)
        rig.driver.end_strays([kept.task_id])

        def left() -> list[str]:
            rig.driver.reconcile()
            return [one["Labels"]["platformd.task"] for one in rig.containers()]

        eventually(lambda: left() == [kept.task_id], 20, every=1.0)
        assert stray.task_id != kept.task_id
    finally:
        rig.close()


def test_memory_beyond_the_limit_ends_it(engine: DockerEngine) -> None:
    rig = DockerRig(engine)
    try:
        order = rig.order({"EAT_MB": 200}, image=APP, res={"memory": "32Mi"})
        rig.driver.launch(order)
        assert rig.wait(order, Exited, timeout=30).exit.oom_killed
        assert not rig.facts(order, Probed)
    finally:
        rig.close()


def test_an_engine_that_ends_in_the_middle_of_a_pull(own_engine: DockerEngine) -> None:
    """Nothing fails for it; there again it pulls anew."""
    with registry() as host:
        publish_a_new_one(own_engine, f"{host}/team/app:1")
        name, _, port = host.partition(":")
        with tcp_proxy((name, int(port))) as (proxy, beside):
            proxy.pass_bytes = 4096
            rig = DockerRig(own_engine)
            try:
                order = rig.order(image=f"{beside}/team/app:1")
                rig.driver.launch(order)
                rig.wait(order, ImageWanted)
                eventually(lambda: proxy.stalled)
                own_engine.stop()
                assert rig.wait(order, LaunchWaits).reason.code == "ENGINE_UNAVAILABLE"
                proxy.go_on.set()
                own_engine.start()
                eventually(lambda: not rig.driver.engine.away, timeout=20)
                rig.driver.launch(order)
                rig.wait(order, Probed)
            finally:
                rig.close()
