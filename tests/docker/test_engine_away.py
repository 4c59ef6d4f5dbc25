"""An engine that goes away and comes back, and a service that does: silence proves nothing, and nothing is lost."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from platformd.domain.events import Exited, LaunchWaits, Probed
from tests.docker.conftest import APP, _make_images
from tests.docker.engine import CannotRun, DockerEngine
from tests.docker.rig import DockerRig
from tests.support import eventually

pytestmark = pytest.mark.needs("engine")
COUNTED = 2000


@pytest.fixture
def own_engine(engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """One that a test may stop; its containers outlive it."""
    try:
        running = DockerEngine("--live-restore").start()
    except CannotRun as reason:
        pytest.skip(f"no second Docker engine: {reason}")
    try:
        _make_images(running, tmp_path_factory.mktemp("images"))
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
            orders = [rig.order() for _ in range(200)]
            for order in orders:
                rig.driver.launch(order)
            for order in orders:
                assert rig.wait(order, LaunchWaits).reason.code == "ENGINE_UNAVAILABLE"
        finally:
            rig.close()


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
