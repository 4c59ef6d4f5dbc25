"""A data directory without room: nothing acknowledged is lost, tasks live on, wakes work, and it heals by itself."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.platform import Platform, host_of
from tests.recovery import verify
from tests.recovery.follow import stored
from tests.recovery.load import call
from tests.support import eventually

SIZE_MB = 32
_PAUSE = threading.Event()


class SmallDisk:
    """A tmpfs, and a file that takes all its room."""

    def __init__(self, root: Path) -> None:
        self.root, self._filler = root, root / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as filler:
            for size in (1 << 20, 4096, 1):
                try:
                    while filler.write(b"f" * size):
                        pass
                except OSError:
                    continue

    def make_room(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(common: Path) -> Iterator[SmallDisk]:
    root = common / "disk"
    root.mkdir()
    options = f"size={SIZE_MB}m,mode=755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", root], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted: {mounted.stderr.strip()}")
    yield SmallDisk(root)
    subprocess.run(["umount", "--lazy", root], check=True)


@pytest.fixture
def cramped(disk: SmallDisk) -> Iterator[Platform]:
    server = Platform(disk.root / "data")
    server.log = disk.root.parent / "serve.log"
    try:
        yield server.start()
    finally:
        server.destroy()


def _acknowledged_until_refused(platform: Platform) -> list[str]:
    """Apps that were created before the first 507."""
    made: list[str] = []
    for number in range(5000):
        answer = platform.api("POST", "/apps", {"name": f"full-{number}", "description": "d" * 1000})
        if answer.status == 507:
            assert answer.json["code"] == "INSUFFICIENT_STORAGE", answer.text
            return made
        assert answer.status == 201, answer.text
        made.append(answer.json["id"])
    raise AssertionError("the disk is never full")


def _readyz(platform: Platform) -> Any:
    answer = call(platform.api_url, "GET", "/readyz")
    assert answer is not None and answer.status == 200
    return answer.json


def messages(platform: Platform, deployment_id: str) -> list[str]:
    return [entry["message"] for entry in stored(platform, deployment_id)]


@pytest.mark.needs("tmpfs")
def test_a_full_disk(cramped: Platform, disk: SmallDisk, tiny: Path, common: Path) -> None:
    platform, marks = cramped, common / "marks"
    env = {"MARK_FILE": str(marks)}
    steady = platform.deploy(tiny, env=env, idle_timeout_secs=3600)
    dozing = platform.deploy(tiny, env=env, idle_timeout_secs=1)
    pid = platform.get(host_of(steady), "/pid").text
    platform.wait(dozing["id"], lambda d: d["phase"] == "asleep")
    disk.fill()
    apps = _acknowledged_until_refused(platform)
    disk.fill()

    upload = platform.api("POST", "/artifacts", {"name": "x", "content_type": "application/octet-stream"})
    assert upload.status == 507, upload.text
    assert platform.api("POST", f"/deployments/{steady['id']}/cancel").status == 507
    assert platform.deployment(steady["id"])["status"] == "running"
    disk.fill()
    for _ in range(20):
        assert platform.get(host_of(steady), f"/say?{'lost' * 2000}").status == 200
    for _ in range(3):
        woken = platform.get(host_of(dozing), "/pid")
        assert woken.status == 200
        eventually(lambda gone=int(woken.text): not Path(f"/proc/{gone}").exists(), 15)
    assert platform.get(host_of(steady), "/pid").text == pid
    state = _readyz(platform)
    assert (state["status"], state["checks"]["store"]["status"]) == ("degraded", "degraded"), state

    disk.make_room()
    created = eventually(
        lambda: (made := platform.api("POST", "/apps", {"name": "again"})).status == 201 and made, 20
    )
    apps.append(created.json["id"])
    assert eventually(lambda: _readyz(platform)["checks"]["store"]["status"] == "ok")
    platform.wait(dozing["id"], lambda d: d["phase"] == "asleep")
    assert platform.get(host_of(steady), "/say?kept").status == 200
    said = eventually(lambda: (texts := messages(platform, steady["id"])) and "kept" in texts and texts)
    assert any("lines of output were dropped" in text for text in said), "nobody said so"
    platform.kill()
    platform.start()
    assert [app for app in apps if platform.api("GET", f"/apps/{app}").status != 200] == []
    assert platform.get(host_of(steady), "/pid").text == pid
    verify.assert_settles(platform)
    verify.assert_none_started_twice(marks)
    assert sum(verify.started(marks).values()) == 5


@pytest.mark.needs("tmpfs")
def test_a_start_on_a_full_disk(cramped: Platform, disk: SmallDisk, tiny: Path) -> None:
    """Killed while there is no room: the next one adopts and serves all the same."""
    platform = cramped
    steady, dozing = platform.deploy(tiny), platform.deploy(tiny)
    pid = platform.get(host_of(steady), "/pid").text
    platform.sleep(dozing["id"])
    disk.fill()
    _acknowledged_until_refused(platform)
    disk.fill()
    platform.kill()
    platform.start()
    assert platform.get(host_of(steady), "/pid").text == pid
    assert platform.get(host_of(dozing)).status == 200
    assert platform.api("POST", "/apps", {"name": "no-room", "description": "d" * 1000}).status == 507
    disk.make_room()
    eventually(lambda: platform.api("POST", "/apps", {"name": "room"}).status == 201, 20)
    verify.assert_settles(platform)
