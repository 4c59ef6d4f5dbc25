"""The engine ends and comes back, or never answers, under a whole server: what is shown stays true, reads stay fast."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from platformd.drivers.docker.driver import CALLS_AT_ONCE
from tests.docker.containers import ContainerPlatform
from tests.docker.engine import DockerEngine
from tests.docker.test_engine_away import either_engine
from tests.e2e.platform import Platform, host_of
from tests.support import eventually

pytestmark = pytest.mark.needs("engine")
__all__ = ["either_engine"]
TWO_RECONCILE_PERIODS = 20.0
WRITER = b"#!/bin/sh\nn=0\nwhile :; do echo line $n; n=$((n+1)); sleep 0.05; done\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="platformd-"))
    root.chmod(0o711)
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def platform(folder: Path, either_engine: DockerEngine) -> Iterator[ContainerPlatform]:
    server = ContainerPlatform(folder / "data", either_engine)
    try:
        yield server.start()
    finally:
        server.destroy()


def lines(platform: Platform, deployment: Any) -> list[str]:
    path = f"/deployments/{deployment['id']}/logs?stream=stdout&limit=1000"
    return [entry["message"] for entry in platform.api("GET", path).json]


def engine_health(platform: Platform) -> Any:
    return platform.readyz()["checks"]["docker"]


def test_an_engine_that_ends_and_comes_back(platform: ContainerPlatform, either_engine: DockerEngine) -> None:
    """Nothing fails meanwhile; afterwards what is shown is true within two reconcile periods, and output has no gap."""
    deployment = platform.deploy(
        WRITER, networking={"protocol": "none"}, restart={"policy": "always"}, cold_start_enabled=False
    )
    [before] = eventually(lambda: platform.tasks(deployment["id"], "running"))
    eventually(lambda: len(lines(platform, deployment)) > 20)
    either_engine.stop()
    degraded = eventually(lambda: (found := engine_health(platform))["status"] == "degraded" and found)
    assert "does not answer" in degraded["detail"]
    shown = platform.deployment(deployment["id"])
    assert shown["status"] == "running"
    if either_engine.flags:
        assert shown["stale"]
        [same] = platform.tasks(deployment["id"], "running")
        assert (same["id"], same["stale"]) == (before["id"], True)
    either_engine.start()
    restarted = time.monotonic()
    shown = platform.wait(
        deployment["id"], lambda d: not d["stale"] and d["phase"] == "ready", TWO_RECONCILE_PERIODS
    )
    if not either_engine.flags:

        def another() -> bool:
            found = platform.tasks(deployment["id"], "running")
            return [task["container_id"] == before["container_id"] for task in found] == [False]

        assert eventually(another, TWO_RECONCILE_PERIODS - (time.monotonic() - restarted))
        return
    assert engine_health(platform)["status"] == "ok"
    [after] = eventually(lambda: platform.tasks(deployment["id"], "running"))
    assert (after["container_id"], after["restarts"]) == (before["container_id"], 0)
    there = len(lines(platform, deployment))
    seen = eventually(lambda: len(found := lines(platform, deployment)) > there + 20 and found)
    assert seen == [f"line {number}" for number in range(len(seen))]


@pytest.fixture
def mute(folder: Path) -> Iterator[Platform]:
    """A server whose engine accepts and never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "mute.sock"))
        listener.listen(1024)
        server = Platform(folder / "data", env={"PLATFORMD_DOCKER_HOST": f"unix://{folder / 'mute.sock'}"})
        try:
            yield server.start()
        finally:
            server.destroy()


def slowest(call: Callable[[], object], times: int = 200) -> float:
    """The time that 99 of a hundred calls do not exceed."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        call()
        took.append(time.monotonic() - began)
    return sorted(took)[int(times * 0.99) - 1]


def test_an_engine_that_never_answers_slows_no_read(mute: Platform) -> None:
    """Fifty starts are tried again each second all the while."""
    app = mute.app()["id"]
    body = {"process_type": "docker", "image": "nothing:1", "environment": "e"}
    first = mute.api("POST", f"/apps/{app}/deployments", {**body, "replicas": 0}).json["id"]
    eventually(lambda: "docker" in mute.readyz()["checks"])
    quiet = slowest(lambda: mute.deployment(first))
    for number in range(50):
        made = mute.api("POST", f"/apps/{app}/deployments", {**body, "environment": f"e{number}"})
        assert made.status == 201, made.text
    shown = mute.wait(made.json["id"], lambda d: d["reason"] is not None)
    assert (shown["status"], shown["reason"]["code"]) == ("pending", "ENGINE_UNAVAILABLE")
    threads = psutil.Process(mute.pid).num_threads()
    assert slowest(lambda: mute.deployment(first), 1000) < quiet * 3 + 0.05
    assert psutil.Process(mute.pid).num_threads() <= threads + CALLS_AT_ONCE
    assert engine_health(mute)["status"] == "degraded"


def test_what_was_asked_of_an_absent_engine_happens_when_it_is_there(
    folder: Path, either_engine: DockerEngine
) -> None:
    """Deployed while it is away: pending, then served."""
    server = ContainerPlatform(folder / "data", either_engine)
    try:
        server.start()
        tiny = {"process_type": "docker", "image": "platformd-test/tiny:1"}
        either_engine.stop()
        eventually(lambda: engine_health(server)["status"] == "degraded")
        made = server.api("POST", f"/apps/{server.app()['id']}/deployments", tiny)
        server.wait(made.json["id"], lambda d: (d["reason"] or {}).get("code") == "ENGINE_UNAVAILABLE")
        either_engine.start()
        server.wait(made.json["id"], lambda d: d["phase"] == "ready", 30)
        assert server.get(host_of(made.json)).status == 200
    finally:
        server.destroy()
