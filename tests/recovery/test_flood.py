"""A task that writes as fast as it can slows down itself, and nobody else."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.e2e.platform import Platform, host_of
from tests.recovery.follow import Follower, stored
from tests.support import eventually

FLOOD_SECS = 6
CAP = 10 * 10_000_000
_PAUSE = threading.Event()


def _latencies(platform: Platform, host: str, seconds: float) -> list[float]:
    found = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.monotonic()
        assert platform.get(host).status == 200
        found.append(time.monotonic() - begun)
        _PAUSE.wait(0.005)
    return sorted(found)


@pytest.mark.slow
def test_a_flood_of_output_bothers_nobody(
    platform: Platform, tiny: Path, chatter: Path, common: Path
) -> None:
    """Memory and disk within bounds, other tasks' lines less than a second late, requests as ever."""
    talker = platform.deploy(tiny)
    host = host_of(talker)
    env = {"FLOOD_MS": str(FLOOD_SECS * 1000), "GATE": str(common / "gate")}
    flood = platform.deploy(chatter, env=env, networking={"protocol": "none"})
    quiet = _latencies(platform, host, 1)
    before = {process.pid: process.memory_info().rss for process in platform.family()}
    delays: list[float] = []
    busy: list[float] = []
    with Follower(platform.api_url, talker["id"]) as follower:
        (common / "gate").touch()
        visits = threading.Thread(target=lambda: busy.extend(_latencies(platform, host, FLOOD_SECS)))
        visits.start()
        for number in range(FLOOD_SECS * 4):
            said = time.monotonic()
            assert platform.get(host, f"/say?{number}").status == 200
            eventually(lambda word=str(number): word in follower.messages(), 10)
            delays.append(follower.seen_at[-1] - said)
            _PAUSE.wait(0.2)
        visits.join()
    written = stored_bytes(platform, flood["id"])
    assert written > 20_000_000, "it hardly wrote anything"
    assert written <= CAP + 1_000_000
    assert max(delays) < 1, delays
    p99 = busy[len(busy) * 99 // 100]
    assert p99 < max(0.25, 20 * quiet[len(quiet) // 2]), (quiet[len(quiet) * 99 // 100], p99)
    for process in platform.family():
        if process.pid in before:
            assert process.memory_info().rss < before[process.pid] + 64 * 2**20, process.cmdline()
    newest = stored(platform, flood["id"], "&stream=stdout&tail=1")
    assert set(newest[0]["message"]) == {"f"}


def stored_bytes(platform: Platform, deployment_id: str) -> int:
    folder = platform.data_dir / "logs" / deployment_id
    return sum(segment.stat().st_size for segment in folder.rglob("*.seg"))
