"""Ends and starts that somebody asked for: SIGTERM, with and without the tasks, and a second server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.platform import Answer, Platform, host_of
from tests.recovery import verify
from tests.recovery.follow import Follower
from tests.recovery.load import call
from tests.support import eventually


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_stop_leaves_the_tasks(
    platform: Platform, tiny: Path, common: Path, number: signal.Signals
) -> None:
    """Exit 0, streams end with a word, the request in flight is answered; the next start adopts."""
    marks = common / "marks"
    deployment = platform.deploy(tiny, env={"MARK_FILE": str(marks)})
    host = host_of(deployment)
    pid = platform.get(host, "/pid").text
    slow: list[Answer | None] = []
    request = threading.Thread(
        target=lambda: slow.append(call(platform.gateway_url, "GET", "/slow?2500", host=host))
    )
    with Follower(platform.api_url, deployment["id"]) as follower:
        eventually(lambda: follower.entries)
        request.start()
        platform.wait(deployment["id"], lambda d: "requests_in_flight" in d["awake_because"])
        assert platform.process is not None
        platform.process.send_signal(number)
        assert platform.process.wait(20) == 0
        request.join(20)
        eventually(lambda: follower.events)
    assert slow[0] is not None and (slow[0].status, slow[0].text) == (200, "ok\n")
    assert follower.events == ["shutdown"]
    assert psutil.pid_exists(int(pid))
    platform.terminate()

    platform.start()
    assert platform.get(host, "/pid").text == pid
    verify.assert_settles(platform)
    [task] = platform.tasks(deployment["id"])
    assert (task["pid"], task["restarts"]) == (int(pid), 0)
    assert sum(verify.started(marks).values()) == 1


@pytest.fixture
def sweeping(data_dir: Path) -> Iterator[Platform]:
    server = Platform(data_dir, "--stop-tasks-on-exit")
    try:
        yield server.start()
    finally:
        server.destroy()


def test_an_orderly_stop_that_takes_the_tasks_along(sweeping: Platform, tiny: Path, common: Path) -> None:
    """Signalled, waited for, killed if need be; nothing is left, and what was awake starts again."""
    platform, marks = sweeping, common / "marks"
    env = {"MARK_FILE": str(marks)}
    polite = platform.deploy(tiny, env={**env, "TERM_MS": "300"})
    stubborn = platform.deploy(tiny, env={**env, "IGNORE_TERM": "1"}, stop={"grace_secs": 1})
    asleep = platform.deploy(tiny, env=env)
    platform.sleep(asleep["id"])
    slow: list[Answer | None] = []
    host = host_of(polite)
    request = threading.Thread(
        target=lambda: slow.append(call(platform.gateway_url, "GET", "/slow?1500", host=host))
    )
    request.start()
    platform.wait(polite["id"], lambda d: "requests_in_flight" in d["awake_because"])
    assert platform.terminate() == 0
    request.join(20)
    assert slow[0] is not None and (slow[0].status, slow[0].text) == (200, "ok\n"), (
        "answered before its task ends"
    )
    assert not verify.living(platform)
    eventually(lambda: not platform.family(), 30)

    platform.start()
    for deployment in (polite, stubborn):
        platform.wait(deployment["id"], lambda d: d["phase"] == "ready")
        reasons = [task["reason"] for task in platform.tasks(deployment["id"], "stopped")]
        assert [reason["code"] for reason in reasons] == ["SERVICE_STOPPED"]
        [task] = eventually(lambda one=deployment: platform.tasks(one["id"], "running"))
        assert task["restarts"] == 0
    assert platform.deployment(asleep["id"])["phase"] == "asleep"
    verify.assert_settles(platform)
    assert sum(verify.started(marks).values()) == 5


def test_everything_leaves_after_an_orderly_stop_without_tasks(platform: Platform) -> None:
    assert platform.terminate() == 0
    eventually(lambda: not platform.family(), 30)


def test_a_second_server_names_the_first(platform: Platform, tiny: Path) -> None:
    deployment = platform.deploy(tiny)
    pid = platform.get(host_of(deployment), "/pid").text
    command = [sys.executable, "-m", "platformd", "serve", "--data-dir", str(platform.data_dir)]
    second = subprocess.run(
        [*command, "--port", "0", "--gateway-port", "0"],
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert second.stdout == ""
    for word in (str(platform.pid), platform.api_url, str(platform.data_dir), "--data-dir"):
        assert word in second.stderr, second.stderr
    assert "Traceback" not in second.stderr
    assert platform.get(host_of(deployment), "/pid").text == pid
    assert platform.deployment(deployment["id"])["phase"] == "ready"
