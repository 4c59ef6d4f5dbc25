"""Builds in the dashboard: those of an app, one of them with its output and why it failed, and what it led to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_dashboard import text, violations
from tests.e2e.building import make_app, set_source, settled
from tests.e2e.platform import Platform
from tests.git_host import GitHost
from tests.support import eventually

pytestmark = pytest.mark.needs("chromium", "chromedriver", "git", "python3 for tasks")

APP = """#!/usr/bin/env python3
import http.server, os
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])),
                                http.server.SimpleHTTPRequestHandler).serve_forever()
"""
GOOD = {
    "kind": "command",
    "command": "echo compiling; cp app server; chmod +x server",
    "artifact_path": "server",
}
BAD = {"kind": "command", "command": "echo 'no such module: left-pad' >&2; exit 2", "artifact_path": "server"}


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    with GitHost(tmp_path_factory.mktemp("git"), "ghs_example").serving() as host:
        yield host


@pytest.fixture(scope="module")
def building(git_host: GitHost) -> Iterator[Platform]:
    root = Path(tempfile.mkdtemp(prefix="platformd-"))
    root.chmod(0o777)
    running = Platform(root / "data", "--github-url", git_host.url)
    try:
        yield running.start()
    finally:
        running.destroy()
        shutil.rmtree(root, ignore_errors=True)


def build(building: Platform, app_id: str, recipe: dict[str, str]) -> Any:
    source = {"repository": "octo/app", "build": recipe, "access_token": "ghs_example"}
    set_source(building, app_id, **source)
    made = building.api("POST", "/builds", {"app_id": app_id, "ref": "main"})
    assert made.status == 202, made.text
    return settled(building, made.json["id"])


def test_a_build_is_followed_to_what_it_led_to(building: Platform, git_host: GitHost, browser: Any) -> None:
    sha = git_host.repository("octo/app").commit({"app": APP}, "Serve files")
    app_id = make_app(building, "built")
    good, bad = build(building, app_id, GOOD), build(building, app_id, BAD)
    assert (good["state"], bad["state"]) == ("succeeded", "failed"), (good, bad)

    browser.get(f"{building.api_url}/#/apps/{app_id}")
    table = "[aria-label=Builds]"
    eventually(lambda: "succeeded" in text(browser, table) and "failed" in text(browser, table), 20)
    assert sha[:8] in text(browser, table)
    assert violations(browser) == []

    browser.get(f"{building.api_url}/#/builds/{bad['id']}")
    eventually(lambda: "left-pad" in text(browser, ".lines"), 20)
    assert bad["reason"]["code"] in text(browser, ".reason")
    assert "Serve files" in text(browser)
    assert violations(browser) == []
