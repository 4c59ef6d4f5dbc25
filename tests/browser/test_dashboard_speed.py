"""A page with a thousand deployments and ten thousand lines of output: soon there, quick to answer, small.

The bounds are wide, since a test machine may be busy; `--log-cli-level=INFO` shows what was measured.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from tests.browser.test_dashboard import text
from tests.e2e.platform import Platform, host_of
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.needs("chromium", "chromedriver", "python3 for tasks")]

_log = logging.getLogger(__name__)
DEPLOYMENTS, LINES = 1000, 10_000
TALKATIVE = b"""#!/usr/bin/env python3
import http.server, os, sys

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sys.stdout.write("".join(f"line {n} of a long story about request {n % 97}\\n" for n in range(10_000)))
        sys.stdout.flush()
        self.send_response(204)
        self.end_headers()

print("listening", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""
# From an input to the frame that shows its effect.
ANSWER_MS = """const [selector, value, done] = arguments;
const input = document.querySelector(selector);
const start = performance.now();
const shown = () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
new MutationObserver((_, observer) => { observer.disconnect(); shown(); })
    .observe(document.getElementById("main"), {childList: true, subtree: true, characterData: true});
input.value = value;
input.dispatchEvent(new Event("input"));"""


@pytest.fixture(scope="module")
def many(server: Platform) -> str:
    """A fleet asleep; the id of the one that talks."""
    talkative = server.deploy(TALKATIVE, server.app("talkative")["id"])
    artifact = server.artifact(TALKATIVE)

    def make(number: int) -> None:
        app = server.app(f"sleeper-{number:04}")
        made = server.api("POST", f"/apps/{app['id']}/deployments", {"artifact_id": artifact, "replicas": 0})
        assert made.status == 201, made.text

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(DEPLOYMENTS - 1)))
    return str(talkative["id"])


def answer_ms(browser: Any, selector: str, value: str) -> float:
    return float(browser.execute_async_script(ANSWER_MS, selector, value))


def renderer_bytes(browser: Any) -> int:
    """What the largest of the browser's renderers has to itself."""
    processes = psutil.Process(browser.service.process.pid).children(recursive=True)
    renderers = [process for process in processes if "--type=renderer" in process.cmdline()]
    return max(process.memory_full_info().uss for process in renderers)


def test_a_thousand_deployments_and_ten_thousand_lines(server: Platform, browser: Any, many: str) -> None:
    start = time.monotonic()
    browser.get(f"{server.api_url}/#/")
    eventually(lambda: text(browser, ".total") == f"{DEPLOYMENTS} apps", 30)
    asleep = "return document.querySelectorAll('.counts b')[2].textContent"
    eventually(lambda: browser.execute_script(asleep) == str(DEPLOYMENTS - 1), 30)
    complete = time.monotonic() - start
    filtered = answer_ms(browser, ".tools input", "sleeper-0777")
    assert browser.execute_script("return document.querySelectorAll('.fleet tbody tr').length") == 1

    browser.execute_script("location.hash = arguments[0]", f"#/deployments/{many}")
    eventually(lambda: "listening" in text(browser, ".lines"), 30)  # from here on it misses nothing
    server.get(host_of(server.deployment(many)), "/")
    eventually(lambda: text(browser, ".tools [role=status]") == f"{LINES} lines", 60)
    searched = answer_ms(browser, ".tools input", "request 13")
    eventually(lambda: text(browser, ".tools [role=status]") == "103 lines", 10)
    memory = renderer_bytes(browser)

    _log.info(
        "complete %.2f s, filter %.0f ms, search %.0f ms, %d MiB", complete, filtered, searched, memory >> 20
    )
    assert complete < 20
    assert filtered < 1000
    assert searched < 1000
    assert memory < 300 << 20
    assert browser.execute_script("return document.querySelectorAll('.line').length") < 100
