"""What happens while the dashboard still waits for an answer is on the page once it has come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.test_dashboard import SAYING, complaints, text
from tests.browser.test_dashboard_views import HIDE
from tests.e2e.platform import Platform
from tests.support import eventually

pytestmark = pytest.mark.needs("chromium", "chromedriver", "python3 for tasks")

# The first answer to each of `held` has been made by the server, and reaches the page once it is let go.
HOLD = """const held = %s, real = window.fetch;
window.holding = {};
window.fetch = async (address, given) => {
    const answer = await real(address, given);
    const found = held.findIndex((part) => address.includes(part));
    if (found >= 0) await new Promise((go) => { window.holding[held.splice(found, 1)[0]] = go; });
    return answer;
};"""
KNOWN = """const done = arguments[arguments.length - 1];
import("/dashboard/state.js").then((state) => done({
    recent: state.recent.map((event) => event.type),
    apps: [...state.apps.keys()],
    deployments: [...state.deployments.keys()],
}))"""


class Held:
    """The page, its first answers to some questions held back."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.script: str | None = None

    def hold(self, *parts: str) -> None:
        source = HOLD % list(parts)
        self.script = self.browser.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument", {"source": source}
        )["identifier"]

    def until_held(self, part: str) -> None:
        eventually(
            lambda: self.browser.execute_script("return window.holding?.[arguments[0]]", part) is not None, 10
        )

    def let_go(self, part: str) -> None:
        self.browser.execute_script("window.holding[arguments[0]]()", part)

    def known(self) -> Any:
        return self.browser.execute_async_script(KNOWN)

    def forget(self) -> None:
        if self.script is not None:
            self.browser.execute_cdp_cmd(
                "Page.removeScriptToEvaluateOnNewDocument", {"identifier": self.script}
            )


@pytest.fixture
def held(browser: Any) -> Iterator[Held]:
    page = Held(browser)
    yield page
    page.forget()


def test_an_app_made_while_the_apps_are_on_their_way_is_shown(
    server: Platform, browser: Any, held: Held
) -> None:
    held.hold("/apps?")
    browser.get(f"{server.api_url}/#/")
    held.until_held("/apps?")
    made = server.app("latecomer")
    eventually(lambda: "app.created" in held.known()["recent"], 10)
    assert made["id"] not in held.known()["apps"]
    held.let_go("/apps?")
    eventually(lambda: made["id"] in held.known()["apps"], 5)
    assert complaints(browser) == []


def test_a_deployment_made_while_the_deployments_are_on_their_way_stays(
    server: Platform, browser: Any, held: Held
) -> None:
    app = server.app("stays")
    artifact = server.artifact(SAYING)
    held.hold("/deployments?", "/events?")
    browser.get(f"{server.api_url}/#/")
    held.until_held("/deployments?")
    made = server.api("POST", f"/apps/{app['id']}/deployments", {"artifact_id": artifact, "replicas": 0}).json
    eventually(lambda: "stays v1" in text(browser, ".fleet"), 5)
    held.let_go("/deployments?")
    held.until_held("/events?")  # all of the list is taken in
    assert made["id"] in held.known()["deployments"]
    held.let_go("/events?")
    eventually(lambda: "asleep" in text(browser, ".fleet"), 5)


def test_what_happened_before_the_page_knew_its_place_is_asked_for_again(
    server: Platform, browser: Any
) -> None:
    app = server.app("away")
    browser.get(f"{server.api_url}/#/apps/{app['id']}")
    places = "[aria-label=Environments] tbody"
    eventually(lambda: "nothing deployed" in text(browser, places), 10)
    eventually(lambda: text(browser, "#connection") == "live", 10)
    browser.execute_script(HIDE, True)
    server.deploy(SAYING, app["id"])
    assert "nothing deployed" in text(browser, places)
    browser.execute_script(HIDE, False)
    eventually(lambda: "v1" in text(browser, places), 5)
    assert complaints(browser) == []
