"""kill -9 of the gateway and of the keeper, and a keeper replaced in place, all under load: tasks never notice."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

import platformd
from tests.e2e.platform import Platform, host_of
from tests.recovery import verify
from tests.recovery.load import SEED, Load, churner, maker, scaler, sleeper, visitor
from tests.support import eventually

_log = logging.getLogger("kills")  # shown when a test fails
_PAUSE = threading.Event()


class Busy:
    """A steady app and a dozing one under load."""

    def __init__(self, platform: Platform, tiny: Path, marks: Path) -> None:
        self.platform, self.marks = platform, marks
        env = {"MARK_FILE": str(marks)}
        self.steady = platform.deploy(tiny, env=env, idle_timeout_secs=3600)
        self.dozing = platform.deploy(tiny, env=env)
        self.pid = platform.get(host_of(self.steady), "/pid").text
        self.load = Load(platform.api_url, platform.gateway_url, seed=1)
        self.load.add("visitor", visitor(host_of(self.steady), self.pid))
        self.load.add("sleeper", sleeper(self.dozing, host_of(self.dozing)))
        self.load.add("maker", maker(self.steady["spec"]["artifact_id"]), pause=0.1)

    def serves_more(self, requests: int = 5) -> None:
        wanted = self.load.ledger.served + requests
        eventually(lambda: self.load.check() or self.load.ledger.served >= wanted, 20)

    def all_is_well(self) -> None:
        verify.assert_promises_kept(self.platform, self.load.ledger)
        verify.assert_settles(self.platform)
        verify.assert_none_started_twice(self.marks)
        [task] = self.platform.tasks(self.steady["id"])
        assert (task["pid"], task["restarts"], task["state"]) == (int(self.pid), 0, "running")


@pytest.fixture
def busy(platform: Platform, tiny: Path, common: Path) -> Busy:
    return Busy(platform, tiny, common / "marks")


def gateway_of(platform: Platform) -> psutil.Process | None:
    for process in platform.family():
        with contextlib.suppress(psutil.Error):  # one that has just been killed
            if "platformd.gateway" in process.cmdline():
                return process
    return None


def system_lines(platform: Platform, deployment: Any) -> list[str]:
    entries = platform.api("GET", f"/deployments/{deployment['id']}/logs?stream=system").json
    return [entry["message"] for entry in entries]


def test_the_gateway_killed_under_load(busy: Busy) -> None:
    """Connections wait for the next gateway; serve and tasks go on."""
    platform, serve = busy.platform, busy.platform.pid
    busy.load.gateway_dies = True
    with busy.load.running():
        for number in range(7):  # each pause before the next gateway is twice as long
            gateway = eventually(lambda: gateway_of(platform))
            _PAUSE.wait(0.05 * (number % 4))
            gateway.kill()
            busy.serves_more()
    assert platform.pid == serve
    busy.all_is_well()


def test_the_keeper_killed_under_load(busy: Busy) -> None:
    """Not one request fails; the next keeper takes everything over and says so; an exit is then known or `unknown`."""
    platform = busy.platform
    gateway = eventually(lambda: gateway_of(platform)).pid
    keepers = {platform.keeper_pid()}
    with busy.load.running():
        for number in range(8):
            _PAUSE.wait(0.07 * (number % 3))
            os.kill(platform.keeper_pid(), signal.SIGKILL)
            eventually(lambda: platform.keeper_pid() not in keepers)
            keepers.add(platform.keeper_pid())
            busy.serves_more()
    assert eventually(lambda: gateway_of(platform)).pid == gateway
    busy.all_is_well()
    assert any("keeper was replaced" in line for line in system_lines(platform, busy.steady))
    platform.get(host_of(busy.steady), "/exit?5")
    ended = eventually(lambda: platform.tasks(busy.steady["id"], "failed", "stopped"))[0]
    assert ended["pid"] == int(busy.pid) and ended["exit_code"] in (5, None), ended


def test_serve_and_keeper_killed_together(busy: Busy) -> None:
    platform = busy.platform
    platform.kill()
    os.kill(platform.keeper_pid(), signal.SIGKILL)
    assert platform.get(host_of(busy.steady), "/pid").text == busy.pid
    platform.start()
    assert platform.get(host_of(busy.steady), "/pid").text == busy.pid
    busy.all_is_well()


def _holds_the_listeners(platform: Platform) -> bool:
    """The keeper has them, so that neither serve nor gateway may take them along."""
    wanted = {urlsplit(url).port for url in (platform.api_url, platform.gateway_url)}
    with contextlib.suppress(psutil.Error, ValueError):
        held = psutil.Process(platform.keeper_pid()).net_connections("tcp")
        return wanted <= {connection.laddr.port for connection in held}
    return False


def _kill_keeper(platform: Platform) -> None:
    """Only one that serve has settled in with: without both of them nobody holds the API's listener."""
    killed = platform.keeper_pid()
    os.kill(killed, signal.SIGKILL)  # whose descriptors may be seen for a moment more
    eventually(lambda: platform.keeper_pid() != killed and _holds_the_listeners(platform))


def _kill_gateway(platform: Platform) -> None:
    gateway = gateway_of(platform)
    if gateway is not None:
        gateway.kill()


def _kill_serve(platform: Platform) -> None:
    platform.kill()
    platform.start()


def test_all_three_killed_in_turn(busy: Busy, tiny: Path) -> None:
    """In an order that chance gives, while versions come and go and replicas are added and taken away."""
    platform, lots = busy.platform, random.Random(SEED)
    _log.warning("PLATFORMD_TEST_SEED=%s", SEED)
    env = {"MARK_FILE": str(busy.marks)}
    scaled = platform.deploy(tiny, env=env, cold_start_enabled=False)
    busy.load.gateway_dies = True
    busy.load.add("scaler", scaler(scaled), pause=0.1)
    churned = platform.app()["id"], busy.steady["spec"]["artifact_id"]
    busy.load.add("churner", churner(*churned, env))
    with busy.load.running():
        for _ in range(12):
            _PAUSE.wait(lots.uniform(0, 0.5))
            lots.choice((_kill_serve, _kill_serve, _kill_gateway, _kill_keeper))(platform)
            busy.load.check()
    busy.all_is_well()
    verify.assert_serving(platform, [busy.steady["id"], scaled["id"]])


@pytest.fixture
def release(common: Path) -> Path:
    """A copy of the program, which may be changed as a new release would."""
    source, copy = Path(platformd.__file__).parents[1], common / "release"
    for package in ("platformd", "actors", "handlers"):
        shutil.copytree(source / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture
def upgradable(data_dir: Path, release: Path) -> Iterator[Platform]:
    env = {"PYTHONPATH": str(release), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    server = Platform(data_dir, env=env)
    try:
        yield server.start()
    finally:
        server.destroy()


def test_the_keeper_is_upgraded_in_place_under_load(
    upgradable: Platform, release: Path, tiny: Path, common: Path
) -> None:
    """The same process with another program: nothing is adopted, so every exit code is still known."""
    platform, busy = upgradable, Busy(upgradable, tiny, common / "marks")
    keeper, gateway = platform.keeper_pid(), eventually(lambda: gateway_of(platform)).pid
    with busy.load.running():
        for number in range(4):
            with (release / "platformd" / "keeper" / "core.py").open("a") as program:
                program.write(f"# release {number}\n")
            platform.kill()
            platform.start()
            busy.serves_more()
    assert platform.log.read_text().count("keeper upgraded") == 4
    assert (platform.keeper_pid(), eventually(lambda: gateway_of(platform)).pid) == (keeper, gateway)
    busy.all_is_well()
    assert not [line for line in system_lines(platform, busy.steady) if "keeper" in line]
    platform.get(host_of(busy.steady), "/exit?5")
    [ended] = eventually(lambda: platform.tasks(busy.steady["id"], "failed"))
    assert (ended["pid"], ended["exit_code"]) == (int(busy.pid), 5)
