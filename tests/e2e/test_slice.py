"""The main job from outside: deploy, serve, sleep, wake, kill -9, adopted."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.platform import Platform, host_of
from tests.support import eventually


def test_a_native_app_lives_through_all_of_it(platform: Platform, tiny: Path) -> None:
    deployment = platform.deploy(tiny)
    assert (deployment["status"], deployment["phase"]) == ("running", "ready"), deployment
    host = host_of(deployment)
    assert platform.get(host).text == "ok\n"
    pid = platform.get(host, "/pid").text

    platform.sleep(deployment["id"])
    assert platform.tasks(deployment["id"], "running") == []
    woken = platform.get(host, "/pid")
    assert woken.status == 200
    assert "wake;dur=" in woken.headers["Server-Timing"]
    assert woken.text != pid

    platform.kill()
    platform.start()
    assert platform.get(host, "/pid").text == woken.text
    [task] = eventually(lambda: platform.tasks(deployment["id"], "running"))
    assert task["pid"] == int(woken.text)
    assert task["restarts"] == 0

    cancelled = platform.api("POST", f"/deployments/{deployment['id']}/cancel")
    assert cancelled.json["status"] == "cancelled"
    platform.wait(deployment["id"], lambda d: d["phase"] == "done")
    assert platform.get(host).status == 503
