"""serve dies at every step of a 3 → 3 roll: the roll goes on, and three tasks listen all the time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.platform import Platform, host_of
from tests.recovery import verify
from tests.support import eventually

REPLICAS = 3
STEPS = ("StartTask", "LaunchTask", "Report", "StopTask", "CloseInGateway", "Signal", "Sweep", "Forget")
PATIENCE = 60.0


class Watch:
    """The fewest tasks that listened at once, and what was answered meanwhile, from a thread of its own."""

    def __init__(self, platform: Platform, host: str) -> None:
        self._platform, self._host, self._url = platform, host, platform.gateway_url
        self.keeper = psutil.Process(platform.keeper_pid())
        self.fewest, self.statuses = REPLICAS, set[int]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.is_set():
            self.fewest = min(self.fewest, sum(map(_listens, self.keeper.children())))
            self.statuses.add(self._platform.get(self._host).status)

    def __enter__(self) -> Watch:
        assert sum(map(_listens, self.keeper.children())) == REPLICAS
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)


def _listens(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        if "artifacts" in process.exe():
            return any(each.status == psutil.CONN_LISTEN for each in process.net_connections("tcp"))
    return False


@pytest.fixture
def three(server: Platform, tiny: Path) -> Iterator[Any]:
    deployment = server.deploy(
        tiny, replicas=REPLICAS, env={"START_MS": "100"}, stop={"grace_secs": 3}, idle_timeout_secs=600
    )
    yield server.wait(deployment["id"], lambda d: d["current"] and d["tasks_ready"] == REPLICAS)
    server.api("POST", f"/deployments/{deployment['id']}/cancel")
    server.wait(deployment["id"], lambda d: d["phase"] == "done")


def _observed(server: Platform, id: str) -> Any:
    return server.wait(
        id,
        lambda d: d["observed_generation"] == d["generation"] and d["tasks_ready"] == REPLICAS,
        PATIENCE,
    )


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_step_of_a_roll_it_goes_on_and_nobody_is_missing(
    server: Platform, three: Any, when: str
) -> None:
    id, path = three["id"], f"/deployments/{three['id']}"
    for number, step in enumerate(STEPS, start=1):
        memory = f"{128 + number}Mi"
        with Watch(server, host_of(three)) as watch:
            server.kill()
            server.launch(PLATFORMD_CRASH_AT=f"{when}:{step}")
            with contextlib.suppress(OSError, RuntimeError, AssertionError):  # it may die while it starts
                server.await_ready()
                server.api("PATCH", path, {"spec": {"resources": {"memory": memory}}})
            assert server.process is not None
            assert server.process.wait(PATIENCE) != 0
            server.kill()
            server.start()
            answer = server.api("PATCH", path, {"spec": {"resources": {"memory": memory}}})
            assert answer.status == 200, answer.text
            shown = _observed(server, id)
        assert watch.fewest >= REPLICAS, f"killed {when} {step}: {watch.fewest} listened"
        assert watch.statuses == {200}
        assert shown["spec"]["resources"]["memory"] == memory
        eventually(lambda: sum(map(_listens, watch.keeper.children())) == REPLICAS)
    verify.assert_settles(server)
    tasks = server.tasks(id, "running")
    assert sorted(task["slot"] for task in tasks) == [0, 1, 2]
    assert len({task["generation"] for task in tasks}) == 1
