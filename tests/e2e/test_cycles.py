"""Waking and sleeping over and over leaves nothing behind and gets no slower."""

from __future__ import annotations

import statistics
from pathlib import Path

import psutil

from tests.e2e.herd import fetch, together
from tests.e2e.platform import Platform, host_of
from tests.e2e.processes import zombies
from tests.support import eventually

CYCLES = 500


def belongings(server: Platform) -> dict[str, tuple[int, int]]:
    """Descriptors and threads of serve, keeper and gateway, each after it has had time to put things away."""
    ours = [p for p in server.family() if any("platformd" in word for word in p.cmdline())]
    return {_name(process): (process.num_fds(), process.num_threads()) for process in ours}


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    if "serve" in words:
        return "serve"
    return "gateway" if "platformd.gateway" in words else "keeper"


def test_five_hundred_cycles(platform: Platform, tiny: Path) -> None:
    deployment = platform.deploy(tiny)
    host = host_of(deployment)
    took: list[float] = []
    before: dict[str, tuple[int, int]] = {}
    for number in range(CYCLES):
        platform.sleep(deployment["id"])
        if number == 20:
            before = belongings(platform)
        [answer] = together(fetch(platform.gateway_url, host))
        assert answer.status == 200
        took.append(answer.seconds)
    platform.sleep(deployment["id"])

    def nothing_left() -> bool:
        after = belongings(platform)
        return all(
            after[name][0] <= descriptors + 3 and after[name][1] <= threads + 2
            for name, (descriptors, threads) in before.items()
        )

    assert set(before) == {"gateway", "keeper", "serve"}
    try:
        eventually(nothing_left, 10)
    except AssertionError:
        raise AssertionError(f"{before} became {belongings(platform)}") from None
    assert eventually(lambda: not zombies([process.pid for process in platform.family()]))
    left = [folder.name for folder in (platform.data_dir / "work").iterdir()]
    assert len([name for name in left if not name.startswith("spare-")]) < 50, left
    early, late = statistics.median(took[20:120]), statistics.median(took[-100:])
    assert late < early * 1.5 + 0.005, "one wake must not cost more than another"
    assert platform.deployment(deployment["id"])["status"] == "running"
