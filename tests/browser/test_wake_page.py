"""A person opens a sleeping app that takes long to start: a page at once that waits, then the app's own."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.platform import Platform, host_of
from tests.support import eventually

pytestmark = pytest.mark.needs("chromium", "chromedriver", "python3 for tasks")

SLOW = b"""#!/usr/bin/env python3
import http.server, os, sys, time

time.sleep(float(os.environ["START_SECS"]))
if os.environ.get("FAIL") and os.path.exists(os.environ["FAIL"]):
    sys.exit(3)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<!doctype html><title>The app</title><h1>the app itself " + self.path.encode() + b"</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""
DARK = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}


def heading(browser: Any) -> str:
    return str(browser.execute_script("return document.querySelector('h1')?.textContent || ''"))


def background(browser: Any) -> str:
    return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))


def picture(browser: Any, name: str) -> None:
    """Kept where somebody wants to look at it."""
    folder = os.environ.get("PLATFORMD_SCREENSHOTS")
    if folder:
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def asked_for(browser: Any) -> list[str]:
    """Every address the pages asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def url_of(server: Platform, deployment: Any, path: str = "/") -> str:
    port = urlsplit(server.gateway_url).port
    return f"http://{host_of(deployment)}:{port}{path}"


def test_the_page_waits_and_then_shows_the_app(server: Platform, browser: Any) -> None:
    deployment = server.deploy(SLOW, env={"START_SECS": "5.5"})
    server.sleep(deployment["id"])
    url = url_of(server, deployment, "/deep?x=1")
    browser.set_page_load_timeout(20)

    browser.get(url)  # comes back with the page: the app is still starting

    assert heading(browser) == "Starting…"
    light = background(browser)
    eventually(
        lambda: browser.execute_script("return document.getElementById('phase').textContent") == "waking"
    )
    picture(browser, "wake-light")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", DARK)
    assert background(browser) != light
    picture(browser, "wake-dark")
    eventually(lambda: heading(browser) == "the app itself /deep?x=1", 20)
    asked = asked_for(browser)
    assert {urlsplit(address).hostname for address in asked if address.startswith("http")} == {
        host_of(deployment)
    }
    complaints = [entry["message"] for entry in browser.get_log("browser") if "503" not in entry["message"]]
    assert [text for text in complaints if "favicon" not in text] == []


def test_it_says_why_the_app_could_not_be_started(server: Platform, browser: Any) -> None:
    broken = Path(tempfile.gettempdir()) / f"platformd-fail-{os.getpid()}"
    deployment = server.deploy(SLOW, env={"START_SECS": "4.5", "FAIL": str(broken)})
    server.sleep(deployment["id"])
    broken.touch()
    try:
        browser.get(url_of(server, deployment))
        assert heading(browser) == "Starting…"
        eventually(lambda: heading(browser) == "It could not be started", 20)
        text = browser.execute_script("return document.body.innerText")
        assert "exited with code 3" in text and "WAKE_CRASHED" in text and "Try again" in text
        picture(browser, "wake-failed")
    finally:
        broken.unlink()


def test_errors_are_pages_too(server: Platform, browser: Any) -> None:
    port = urlsplit(server.gateway_url).port
    browser.get(f"http://nobody.localhost:{port}/")
    assert heading(browser) == "404 Not Found"
    picture(browser, "error-light")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", DARK)
    picture(browser, "error-dark")
    assert "NO_HOST" in browser.execute_script("return document.body.innerText")
