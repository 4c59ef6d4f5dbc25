"""The dashboard as a person uses it: deploys, watches, follows output over a restart, rolls back, cancels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.test_wake_page import DARK, asked_for, background, picture
from tests.e2e.platform import Platform, host_of
from tests.support import eventually

pytestmark = pytest.mark.needs("chromium", "chromedriver", "python3 for tasks")

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
SAYING = b"""#!/usr/bin/env python3
import http.server, os

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked for", self.path, \"\"\"<img src=x onerror="document.title='owned'">\"\"\", flush=True)
        self.send_response(204)
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""


def text(browser: Any, selector: str = "main") -> str:
    return str(
        browser.execute_script("return document.querySelector(arguments[0])?.innerText || ''", selector)
    )


def press(browser: Any, label: str, within: str = "main") -> None:
    """The button that a person reads as `label`; found and pressed at one instant, as the page may be drawn anew."""
    script = """const found = [...document.querySelectorAll(arguments[0] + " button")]
        .find((button) => button.textContent === arguments[1] && !button.disabled);
        found?.click();
        return Boolean(found)"""
    eventually(lambda: browser.execute_script(script, within, label), 10)


def order(browser: Any, label: str) -> None:
    """Presses, and says yes to the question."""
    press(browser, label)
    press(browser, label, "dialog[open]")


def find(browser: Any, selector: str) -> Any:
    return eventually(
        lambda: browser.execute_script("return document.querySelector(arguments[0])", selector), 10
    )


def complaints(browser: Any) -> list[str]:
    """What the console says, but for connections to a server that was away."""
    return [entry["message"] for entry in browser.get_log("browser") if "ERR_" not in entry["message"]]


def local(browser: Any) -> bool:
    hosts = {urlsplit(url).hostname for url in asked_for(browser) if url.startswith("http")}
    return hosts <= {"127.0.0.1"}


def violations(browser: Any) -> list[str]:
    """What axe-core finds wrong with the page as it is shown."""
    package = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    [script] = Path(package.__file__).parent.rglob("axe.min.js")
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": script.read_text()})
    found = browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
    return [f"{one['impact']} {one['id']}: {one['nodes'][0]['html']}" for one in found]


def restart_where_it_was(server: Platform) -> None:
    port = urlsplit(server.api_url).port
    server.kill()
    server.flags = ("--port", str(port))
    server.start()


def test_a_person_deploys_watches_and_cancels(server: Platform, browser: Any, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(SAYING)
    browser.get(f"{server.api_url}/#/deploy")
    find(browser, "input[name=app]").send_keys("seen")
    find(browser, "input[name=file]").send_keys(str(binary))
    press(browser, "Deploy")
    eventually(lambda: "ready" in text(browser, ".head .badge"), 20)
    deployment = server.deployment(browser.execute_script("return location.hash").rsplit("/", 1)[1])

    server.get(host_of(deployment), "/first")
    eventually(lambda: "asked for /first" in text(browser, ".lines"), 10)
    order(browser, "Sleep")
    eventually(lambda: text(browser, ".head .badge") == "asleep", 20)
    server.get(host_of(deployment), "/woken")
    eventually(lambda: text(browser, ".head .badge") == "ready", 20)
    eventually(lambda: "asked for /woken" in text(browser, ".lines"), 10)
    restart_where_it_was(server)
    server.get(host_of(deployment), "/after")
    eventually(lambda: "asked for /after" in text(browser, ".lines"), 30)  # the same page, going on by itself
    said = text(browser, ".lines")
    assert [said.count(f"asked for /{name} ") for name in ("first", "woken", "after")] == [1, 1, 1]
    picture(browser, "dashboard-light")
    light = background(browser)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", DARK)
    assert background(browser) != light
    picture(browser, "dashboard-dark")
    assert violations(browser) == []
    browser.refresh()
    eventually(lambda: "asked for /first" in text(browser, ".lines"), 10)  # long ago, by the ids of lines
    order(browser, "Cancel")
    eventually(lambda: text(browser, ".head .badge") == "cancelled", 20)
    assert browser.title != "owned"
    assert complaints(browser) == []
    assert local(browser)


def test_rolls_back_and_shows_hostile_text_as_text(server: Platform, browser: Any) -> None:
    app = server.app()
    server.api("PUT", f"/apps/{app['id']}", {"description": HOSTILE})
    server.deploy(SAYING, app["id"])
    second = server.deploy(SAYING, app["id"])
    server.wait(second["id"], lambda found: found["current"])
    browser.get(f"{server.api_url}/#/deployments/{second['id']}")
    eventually(lambda: HOSTILE in text(browser), 10)
    order(browser, "Roll back")
    eventually(lambda: f"{app['name']} v3" in text(browser, "h1"), 20)
    browser.get(f"{server.api_url}/#/")
    eventually(lambda: f"{app['name']} v3" in text(browser, ".fleet"), 10)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        picture(browser, "dashboard-narrow")
        assert violations(browser) == []
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert browser.title != "owned"
    assert complaints(browser) == []
    assert local(browser)


def test_its_files_are_asked_for_again_and_allow_nothing_foreign(server: Platform) -> None:
    first = server._call(server.api_url, "GET", "/", None, {})
    assert first.status == 200
    assert "default-src 'self'" in first.headers["Content-Security-Policy"]
    again = server._call(server.api_url, "GET", "/", None, {"If-None-Match": first.headers["Etag"]})
    assert (again.status, again.body) == (304, b"")
    assert server._call(server.api_url, "GET", "/dashboard/../app.py", None, {}).status == 404


def test_a_person_signs_in_where_tokens_are_needed(
    tmp_path: Path, browser: Any, request: pytest.FixtureRequest
) -> None:
    data = tmp_path / "data"
    words = ["token", "create", "--name", "me", "--scope", "admin", "--json", "--data-dir", str(data)]
    made = subprocess.run([sys.executable, "-m", "platformd", *words], capture_output=True, timeout=60)
    secret = json.loads(made.stdout)["token"]
    server = Platform(data, "--require-token").start()
    request.addfinalizer(server.destroy)
    browser.get(f"{server.api_url}/#/")
    find(browser, "dialog[open] input[name=token]").send_keys("wrong")
    press(browser, "Sign in", "dialog[open]")
    eventually(lambda: "does not take that token" in text(browser, "dialog[open]"), 10)
    find(browser, "dialog[open] input[name=token]").send_keys(secret)
    press(browser, "Sign in", "dialog[open]")
    eventually(lambda: "Nothing is deployed yet" in text(browser, ".empty"), 10)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    made_app = server._call(server.api_url, "POST", "/api/v1/apps", b'{"name":"seen"}', headers)
    assert made_app.status == 201
    eventually(lambda: text(browser, ".total") == "1 app", 20)  # by the stream, opened with a ticket
    assert local(browser)
