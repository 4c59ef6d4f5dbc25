"""Deadlines hold to the second over kill -9 and over steps of the wall clock."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.platform import Platform, host_of
from tests.support import eventually

IDLE_SECS, RUNTIME_SECS, SHORT_SECS = 7, 6, 2
SLACK = 1.2  # the promise is 1 s; the rest is for seeing it
HOUR, DAY = 3600, 86_400
_PAUSE = threading.Event()


class Clock:
    """The wall clock as the server sees it, steps of which nothing else hears."""

    def __init__(self, folder: Path) -> None:
        library, self._file = folder / "wallclock.so", folder / "shift"
        source = Path(__file__).parent / "apps" / "wallclock.c"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        self.env = {"LD_PRELOAD": str(library), "WALL_CLOCK_SHIFT": str(self._file)}
        self.step(0)

    def step(self, seconds: int) -> None:
        self._shift = seconds
        self._file.write_text(str(seconds))

    def is_seen_by(self, platform: Platform) -> bool:
        shown = datetime.fromisoformat(platform.app()["created_at"])
        return bool(abs(shown.timestamp() - datetime.now(UTC).timestamp() - self._shift) < 30)


class Watch:
    """One process, and the instant at which it was gone."""

    def __init__(self, platform: Platform, deployment: Any) -> None:
        self.id = deployment["id"]
        [task] = eventually(lambda: platform.tasks(self.id, "running"))
        self.process = psutil.Process(task["pid"])
        self.begun = self.process.create_time()
        self.gone_at: float | None = None

    def gone(self) -> bool:
        if self.gone_at is None and not self.process.is_running():
            self.gone_at = time.time()
        return self.gone_at is not None


def _kill(platform: Platform, clock: Clock) -> None:
    _PAUSE.wait(2)
    platform.kill()
    _PAUSE.wait(1.5)
    platform.start(**clock.env)


def _step(platform: Platform, clock: Clock) -> None:
    for shift in (HOUR, -HOUR, DAY, -DAY, 0, DAY):
        clock.step(shift)
        assert clock.is_seen_by(platform)
        _PAUSE.wait(0.5)


def _kill_and_step(platform: Platform, clock: Clock) -> None:
    for shift in (DAY, -HOUR):
        platform.kill()
        clock.step(shift)
        platform.start(**clock.env)
        assert clock.is_seen_by(platform)


@pytest.mark.parametrize("disturb", [_kill, _step, _kill_and_step])
def test_deadlines_hold(
    data_dir: Path, tiny: Path, common: Path, disturb: Callable[[Platform, Clock], None]
) -> None:
    """Idle, max runtime, and an idle deadline that passes meanwhile; what has none lives on."""
    clock, platform = Clock(common), Platform(data_dir)
    platform.start(**clock.env)
    try:
        steady = Watch(platform, platform.deploy(tiny, idle_timeout_secs=86_400))
        limited = Watch(platform, platform.deploy(tiny, max_runtime_secs=RUNTIME_SECS))
        idle = platform.deploy(tiny, idle_timeout_secs=IDLE_SECS)
        short = platform.deploy(tiny, idle_timeout_secs=SHORT_SECS)
        watches = Watch(platform, idle), Watch(platform, short)
        quiet_since = []
        for one in (idle, short):
            assert platform.get(host_of(one)).status == 200
            quiet_since.append(time.time())
        disturb(platform, clock)
        back_at = time.time()
        eventually(lambda: sum(watch.gone() for watch in (limited, *watches)) == 3, 15)
        assert limited.gone_at == pytest.approx(limited.begun + RUNTIME_SECS, abs=SLACK)
        assert watches[0].gone_at == pytest.approx(quiet_since[0] + IDLE_SECS, abs=SLACK)
        assert watches[1].gone_at is not None
        assert quiet_since[1] + SHORT_SECS - SLACK < watches[1].gone_at
        assert watches[1].gone_at < max(quiet_since[1] + SHORT_SECS, back_at) + SLACK
        assert not steady.gone()

        [task] = platform.tasks(limited.id)
        assert (task["reason"]["code"], task["restarts"]) == ("MAX_RUNTIME", 0)
        for watch in (limited, *watches):
            platform.wait(watch.id, lambda d: d["phase"] == "asleep")
        assert platform.get(host_of(idle)).status == 200
    finally:
        platform.destroy()
