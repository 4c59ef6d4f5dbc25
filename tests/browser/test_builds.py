"""Builds and webhook deliveries in the dashboard: pushes and pull requests, told by signed deliveries, built."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_dashboard import complaints, order, text, violations
from tests.browser.test_wake_page import DARK, picture
from tests.e2e.building import build_of, make_app, set_source, settled
from tests.e2e.hooks import SECRET, TOKEN, deliveries, deployed, pull_request, push, send
from tests.e2e.platform import Platform
from tests.git_host import GitHost, Repository
from tests.github import payloads
from tests.github.server import GitHubServer
from tests.support import eventually

pytestmark = pytest.mark.needs("chromium", "chromedriver", "git", "python3 for tasks")

APP = """#!/usr/bin/env python3
import http.server, os
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])),
                                http.server.SimpleHTTPRequestHandler).serve_forever()
"""
GOOD = "echo compiling; cp app server"
BAD = "echo compiling; echo 'no such module: left-pad' >&2; exit 2"
SLOW = "echo compiling; until test -e $HOME/enough; do sleep 0.1; done; echo linking; cp app server"
RECIPE = {"kind": "command", "command": "sh build.sh", "artifact_path": "server"}
BUILDS, DELIVERIES = "[aria-label=Builds]", "[aria-label='Webhook deliveries']"
NARROW = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    with GitHost(tmp_path_factory.mktemp("git"), TOKEN).serving() as host:
        yield host


@pytest.fixture(scope="module")
def building(git_host: GitHost) -> Iterator[Platform]:
    root = Path(tempfile.mkdtemp(prefix="platformd-"))
    root.chmod(0o777)
    with GitHubServer() as github:
        running = Platform(root / "data", "--github-url", git_host.url, "--github-api-url", github.url)
        try:
            yield running.start()
        finally:
            running.destroy()
            shutil.rmtree(root, ignore_errors=True)


class Scene:
    """An app with a source, and its repository."""

    def __init__(self, platform: Platform, repository: Repository, name: str) -> None:
        self.platform, self.repository = platform, repository
        self.app_id = make_app(platform, name)
        set_source(
            platform,
            self.app_id,
            repository=repository.name,
            build=RECIPE,
            webhook_secret=SECRET,
            access_token=TOKEN,
            previews=True,
        )

    def push(self, script: str, message: str) -> Any:
        """The verdict on a commit that is built by `script`."""
        return push(self.platform, self.repository, self.commit(script, message))

    def commit(self, script: str, message: str, branch: str = "main") -> str:
        return self.repository.commit({"app": APP, "build.sh": script}, message, branch)

    def let_go(self) -> None:
        """Builds by SLOW end."""
        (self.platform.data_dir / "builds" / "cache" / self.app_id / "enough").touch()


@pytest.fixture
def scene(building: Platform, git_host: GitHost, request: pytest.FixtureRequest) -> Scene:
    name = f"b{len(git_host.known)}"
    return Scene(building, git_host.repository(f"octo/{name}"), name)


def each_look(browser: Any, name: str, part: str = "h1") -> None:
    """Nothing keeps anybody out, by day, by night and on a telephone; pictures are of `part`."""
    look_at = f'document.querySelector("{part}").scrollIntoView()'
    browser.execute_script(look_at)
    for look, features in (("light", []), ("dark", DARK["features"])):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        assert violations(browser) == [], look
        picture(browser, f"{name}-{look}")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", NARROW)
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        browser.execute_script(look_at)
        picture(browser, f"{name}-narrow")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def row(browser: Any, table: str, place: int) -> Callable[[], str]:
    """What a row says, 0 being the first."""
    return lambda: text(browser, f"{table} tbody tr:nth-child({place + 1})")


def test_every_verdict_on_what_github_sent_is_told_and_why(scene: Scene, browser: Any) -> None:
    platform, repository = scene.platform, scene.repository
    deployed(platform, scene.app_id, scene.push(GOOD, "Serve files")["delivery"])
    browser.get(f"{platform.api_url}/#/apps/{scene.app_id}")
    eventually(lambda: "build, succeeded" in row(browser, DELIVERIES, 0)(), 10)

    elsewhere = payloads.push(repository.name, ref="refs/heads/elsewhere")
    assert send(platform, "push", elsewhere, "elsewhere").json["verdicts"][0]["verdict"] == "ignored"
    eventually(lambda: "ignored" in row(browser, DELIVERIES, 0)(), 5)
    fork = payloads.pull_request(repository.name, source="evil/fork", number=6)
    send(platform, "pull_request", fork, "forked")
    settled(platform, scene.push(BAD, "Need left-pad")["build_id"])
    topic = scene.commit(GOOD, "Try another way", "topic")
    deployed(
        platform,
        scene.app_id,
        pull_request(platform, repository, number=5, ref="topic", sha=topic)["delivery"],
    )
    eventually(lambda: "build, succeeded" in row(browser, DELIVERIES, 0)(), 5)
    later = {"updated_at": "2026-11-25T13:00:00Z"}
    pull_request(platform, repository, action="closed", number=5, ref="topic", sha=topic, **later)
    eventually(lambda: deliveries(platform, scene.app_id)[-1]["verdict"] == "removed", 30)

    eventually(lambda: "removed" in row(browser, DELIVERIES, 0)(), 5)
    shown = [row(browser, DELIVERIES, place)() for place in range(6)]
    expected = [
        ("pull_request.closed", "removed"),
        ("pull_request.opened", "build, succeeded"),
        ("push", "build, failed"),
        ("pull_request.opened", "ignored", "fork"),
        ("push", "elsewhere", "ignored"),
        ("push", "main", "build, succeeded", "deployment"),
    ]
    for said, parts in zip(shown, expected, strict=True):
        assert all(part in said for part in parts), (parts, shown)
    each_look(browser, "deliveries", DELIVERIES)
    assert complaints(browser) == []


def test_a_running_build_is_followed_to_what_it_led_to(scene: Scene, browser: Any) -> None:
    platform = scene.platform
    told = scene.push(SLOW, "Take its time")
    browser.get(f"{platform.api_url}/#/apps/{scene.app_id}")
    eventually(lambda: "running" in row(browser, BUILDS, 0)(), 10)
    eventually(lambda: told["commit_sha"][:8] in row(browser, BUILDS, 0)(), 10)  # once it is fetched
    assert "Take its time" in row(browser, BUILDS, 0)()
    browser.execute_script(f'document.querySelector("{BUILDS} tbody a").click()')
    eventually(lambda: "compiling" in text(browser, ".lines"), 10)
    assert text(browser, ".head .badge") == "running"
    each_look(browser, "build-running")

    scene.let_go()
    eventually(lambda: "linking" in text(browser, ".lines"), 5)
    eventually(lambda: text(browser, ".head .badge") == "succeeded", 10)
    eventually(lambda: "Its deployment" in text(browser), 10)
    assert text(browser, ".lines").count("compiling") == 1
    each_look(browser, "build-succeeded")
    made = build_of(platform, told["build_id"])["deployment_id"]
    browser.execute_script("document.querySelector(\"a[href*='#/deployments/']\").click()")
    eventually(lambda: browser.execute_script("return location.hash") == f"#/deployments/{made}", 5)
    assert complaints(browser) == []


def test_a_failed_build_says_why_and_one_that_runs_is_cancelled(scene: Scene, browser: Any) -> None:
    platform = scene.platform
    failed = settled(platform, scene.push(BAD, "Need left-pad")["build_id"])
    browser.get(f"{platform.api_url}/#/builds/{failed['id']}")
    eventually(lambda: "left-pad" in text(browser, ".lines"), 10)
    assert failed["reason"]["code"] in text(browser, ".reason")
    assert "no such module: left-pad" in text(browser, ".reason pre")
    assert "Need left-pad" in text(browser)
    each_look(browser, "build-failed")

    running = scene.push(SLOW, "Take its time")["build_id"]
    browser.get(f"{platform.api_url}/#/builds/{running}")
    eventually(lambda: "compiling" in text(browser, ".lines"), 10)
    order(browser, "Cancel build")
    eventually(lambda: text(browser, ".head .badge") == "cancelled", 10)
    assert settled(platform, running)["state"] == "cancelled"
    assert complaints(browser) == []
