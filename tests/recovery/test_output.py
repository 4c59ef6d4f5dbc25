"""Output over kills: what a task writes is stored once, whole and in order, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.platform import Platform
from tests.recovery.follow import (
    Follower,
    assert_numbered,
    eventually_numbered,
    stored,
    stored_messages,
)
from tests.support import eventually

_PAUSE = threading.Event()
ONCE = {"networking": {"protocol": "none"}, "restart": {"policy": "never"}}


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _waiting(platform: Platform, chatter: Path, gate: Path, **env: Any) -> tuple[Any, int]:
    """A chatter that runs and says nothing before `gate` is there, and its pid."""
    words = {name: str(value) for name, value in env.items()}
    deployment = platform.deploy(chatter, env={**words, "GATE": str(gate)}, **ONCE)
    [task] = eventually(lambda: platform.tasks(deployment["id"], "running"))
    return deployment, task["pid"]


@pytest.mark.parametrize("code", [0, 7])
def test_output_and_exit_while_serve_is_down(
    platform: Platform, chatter: Path, common: Path, code: int
) -> None:
    """Nobody but the keeper saw it end."""
    deployment, pid = _waiting(platform, chatter, common / "gate", LINES=5000, SIZE=40, EXIT_CODE=code)
    platform.kill()
    (common / "gate").touch()
    eventually(lambda: _gone(pid))
    platform.start()
    platform.wait(deployment["id"], lambda d: d["phase"] == "done")
    [task] = platform.tasks(deployment["id"])
    assert (task["exit_code"], task["restarts"]) == (code, 0)
    assert task["state"] == ("failed" if code else "stopped")
    assert platform.deployment(deployment["id"])["status"] == ("failed" if code else "succeeded")
    assert_numbered(stored_messages(platform, deployment["id"]), 5000, 40)


def test_a_follower_resumes_over_kills(platform: Platform, chatter: Path, common: Path) -> None:
    """By its last id, without gap or repeat, until the deployment is finished."""
    lines = 2500
    options = {"LINES": lines, "PAUSE_MS": 1, "EXIT_CODE": 0, "LAST_GATE": common / "last"}
    deployment, _ = _waiting(platform, chatter, common / "gate", **options)
    with Follower(platform.api_url, deployment["id"]) as follower:
        (common / "gate").touch()
        for share in (0.1, 0.4, 0.7):
            eventually(lambda wanted=share * lines: len(follower.entries) > wanted, 20)
            platform.kill()
            platform.start()
        (common / "last").touch()
        assert follower.ended.wait(30)
    assert_numbered(follower.messages(), lines, 16)
    ids = [entry["id"] for entry in follower.entries]
    assert ids == sorted(set(ids))
    assert (follower.events, follower.cuts) == (["end"], 4)


def test_output_over_a_killed_keeper(platform: Platform, chatter: Path, common: Path) -> None:
    """What the task had written and the dead keeper had not yet stored is there as well."""
    lines = 60_000
    deployment, _ = _waiting(platform, chatter, common / "gate", LINES=lines, SIZE=100)
    (common / "gate").touch()
    keepers = {platform.keeper_pid()}
    for _ in range(3):
        os.kill(platform.keeper_pid(), signal.SIGKILL)
        eventually(lambda: platform.keeper_pid() not in keepers)
        keepers.add(platform.keeper_pid())
    eventually_numbered(lambda: stored_messages(platform, deployment["id"]), lines, 100)


@pytest.mark.parametrize(("size", "lines"), [(4096, 5500), (65536, 340)])
def test_exact_lines_round_the_rotation(
    platform: Platform, chatter: Path, common: Path, size: int, lines: int
) -> None:
    """Two segments are filled to the brim while somebody reads along."""
    deployment, _ = _waiting(platform, chatter, common / "gate", LINES=lines, SIZE=size, EXIT_CODE=0)
    with Follower(platform.api_url, deployment["id"]) as follower:
        (common / "gate").touch()
        assert follower.ended.wait(40)
    assert_numbered(follower.messages(), lines, size)
    assert set(follower.events[:-1]) <= {"gap"}, "it may be told that it reads too slowly, and then resumes"
    assert_numbered(stored_messages(platform, deployment["id"]), lines, size)
    segments = list((platform.data_dir / "logs" / deployment["id"]).rglob("*.seg"))
    assert len(segments) >= 3
    assert max(segment.stat().st_size for segment in segments) <= 10_000_000


def test_hostile_bytes(platform: Platform, chatter: Path, common: Path) -> None:
    """NUL, escapes, bytes that are no text and a line of 50 MB: kept, cut, told; memory stays where it was."""
    before = {process.pid: process.memory_info().rss for process in platform.family()}
    deployment, _ = _waiting(platform, chatter, common / "gate", HOSTILE=50)
    (common / "gate").touch()
    eventually(lambda: "after" in stored_messages(platform, deployment["id"]), 30)
    entries = stored(platform, deployment["id"], "&stream=stdout")
    messages = [entry["message"] for entry in entries]
    assert messages[:4] == ["nul[\0]", "ansi[\x1b[31mred\x1b[0m]", "bad utf-8[\ufffd\ufffd\ufffd]", "cr[\r]"]
    assert messages[4:] == ["x" * 65536, "after"]
    assert [entry.get("truncated") for entry in entries] == [None] * 4 + [50 * 2**20 - 65536, None]
    for process in platform.family():
        if process.pid in before:
            assert process.memory_info().rss < before[process.pid] + 64 * 2**20, process.cmdline()
