"""Every view of the dashboard: what it shows, that the keyboard suffices, that it rests while nobody looks."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from actors.usage import EVERY_SECS
from tests.browser.test_dashboard import SAYING, complaints, find, order, press, text, violations
from tests.browser.test_wake_page import DARK, picture
from tests.e2e.platform import Platform, host_of
from tests.support import eventually

pytestmark = pytest.mark.needs("chromium", "chromedriver", "python3 for tasks")

CRASHING = b"#!/bin/sh\necho 'Error: DATABASE_URL is not set' >&2\nexit 3\n"
HIDE = """Object.defineProperty(document, "hidden", {value: arguments[0], configurable: true});
document.dispatchEvent(new Event("visibilitychange"))"""


def rows(browser: Any) -> list[str]:
    return list(
        browser.execute_script(
            "return [...document.querySelectorAll('.fleet tbody tr')].map((row) => row.innerText)"
        )
    )


def focused(browser: Any) -> str:
    return str(browser.execute_script("return document.activeElement.textContent"))


def samples(server: Platform, deployment_id: str) -> list[Any]:
    found: list[Any] = server.api("GET", f"/deployments/{deployment_id}/usage").json["samples"]
    return found


def test_the_last_hour_is_the_servers_not_the_pages(server: Platform, browser: Any) -> None:
    deployment = server.deploy(SAYING)
    eventually(lambda: len(samples(server, deployment["id"])) >= 2, 3 * EVERY_SECS)
    browser.get(f"{server.api_url}/#/deployments/{deployment['id']}")
    charts = "return [...document.querySelectorAll('.area')].map((chart) => chart.getAttribute('aria-label'))"
    eventually(lambda: "at most" in (browser.execute_script(charts) or [""])[0], 10)
    cpu, memory, requests = browser.execute_script(charts)
    assert cpu.startswith("CPU over the last hour: now ") and "MiB" in memory
    assert requests == "Requests in flight over the last hour: now 0, at most 0"
    drawn = "return [...document.querySelectorAll('.area path')].every((path) => path.getAttribute('d').includes('L'))"
    assert browser.execute_script(drawn)
    assert "now ready" in browser.execute_script(
        "return document.querySelector('.strip').getAttribute('aria-label')"
    )
    assert complaints(browser) == []


def test_one_glance_tells_what_is_awake_what_sleeps_and_what_failed(server: Platform, browser: Any) -> None:
    awake, sleeping = server.deploy(SAYING), server.deploy(SAYING)
    server.sleep(sleeping["id"])
    failed = server.deploy(CRASHING, wait=False, restart={"max_attempts": 0})
    server.wait(failed["id"], lambda found: found["status"] == "failed")
    browser.get(f"{server.api_url}/#/")
    names = {
        one["id"]: server.api("GET", one["links"]["app"][7:]).json["name"]
        for one in (awake, sleeping, failed)
    }

    def row_of(deployment: Any) -> str:
        return next((row for row in rows(browser) if f"{names[deployment['id']]} v1" in row), "")

    assert "called lately; sleeps in" in eventually(lambda: row_of(awake), 10)
    assert "the next request wakes it" in eventually(lambda: row_of(sleeping), 10)
    reason = eventually(lambda: row_of(failed), 10)
    assert "exited with code 3" in reason and "DATABASE_URL is not set" in reason
    press(browser, "1in trouble")
    assert [row.split("\t")[0].split()[0] for row in rows(browser)] == [names[failed["id"]]]
    browser.get(f"{server.api_url}/#/deployments/{failed['id']}")
    eventually(lambda: "EXITED" in text(browser, ".reason"), 10)
    assert "Error: DATABASE_URL is not set" in text(browser, ".reason pre")


def test_the_keyboard_suffices_and_focus_outlives_what_happens(server: Platform, browser: Any) -> None:
    deployment = server.deploy(SAYING)
    name = server.api("GET", deployment["links"]["app"][7:]).json["name"]
    browser.get(f"{server.api_url}/#/")
    eventually(lambda: any(name in row for row in rows(browser)), 10)
    keys = browser.switch_to.active_element
    keys.send_keys("/")
    search = browser.switch_to.active_element
    assert search.get_attribute("type") == "search"
    search.send_keys(name)
    eventually(lambda: len(rows(browser)) == 1, 10)
    for _ in range(10):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if focused(browser) == "v1":
            break
    server.sleep(deployment["id"])
    eventually(lambda: "asleep" in rows(browser)[0], 10)
    assert focused(browser) == "v1", "the row was filled in anew, and its link kept the focus"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    eventually(lambda: text(browser, "h1") == f"{name} v1", 10)
    assert browser.execute_script("return document.activeElement.id") == "main"


def test_an_app_has_its_environments_and_versions(server: Platform, browser: Any) -> None:
    app = server.app()
    first = server.deploy(SAYING, app["id"])
    server.deploy(SAYING, app["id"])
    server.api("POST", f"/deployments/{first['id']}/promote", {"environment": "production"})
    browser.get(f"{server.api_url}/#/apps/{app['id']}")
    eventually(lambda: len(rows(browser)) == 3, 20)
    places = "return [...document.querySelectorAll('[aria-label=Environments] tbody tr')].map((row) => row.innerText)"
    development, production = eventually(lambda: browser.execute_script(places), 10)
    assert "v2" in development and f"{app['subdomain']}-development." in development
    assert "v3" in eventually(lambda: browser.execute_script(places)[1], 10)
    assert f"{app['subdomain']}.localhost" in production


def test_an_operator_sees_the_actors_and_restarts_one(server: Platform, browser: Any) -> None:
    deployment = server.deploy(SAYING)
    key = f"deployment:{deployment['id']}"
    browser.get(f"{server.api_url}/#/actors")
    actor = (
        f"[...document.querySelectorAll('.tree > li')].find((one) => one.innerText.includes('{key[:19]}'))"
    )
    eventually(lambda: browser.execute_script(f"return {actor}?.querySelectorAll('ul li').length") == 1, 10)
    browser.execute_script(f"{actor}.querySelector('button').click()")
    press(browser, "Restart", "dialog[open]")
    eventually(lambda: "restart ordered" in text(browser, "#notices"), 10)
    assert server.api("GET", f"/actors/{key}").json["restarts"] == 1
    assert "None: every message was handled." in text(browser)


def test_it_rests_while_nobody_looks(server: Platform, browser: Any) -> None:
    deployment = server.deploy(SAYING)
    browser.get(f"{server.api_url}/#/deployments/{deployment['id']}")
    eventually(lambda: text(browser, "#connection") == "live", 10)
    browser.execute_script(HIDE, True)
    eventually(lambda: text(browser, "#connection") == "paused", 10)
    server.sleep(deployment["id"])
    assert text(browser, ".head .badge") == "ready", "nobody told it"
    browser.execute_script(HIDE, False)
    eventually(lambda: text(browser, ".head .badge") == "asleep", 10)


def test_output_is_searched_filtered_paused_and_resumed(server: Platform, browser: Any) -> None:
    deployment = server.deploy(SAYING)
    host = host_of(deployment)
    browser.get(f"{server.api_url}/#/deployments/{deployment['id']}")
    server.get(host, "/one")
    server.get(host, "/two")
    eventually(lambda: "asked for /two" in text(browser, ".lines"), 10)
    find(browser, ".tools input[type=search]").send_keys("FOR /ONE")
    eventually(lambda: "/two" not in text(browser, ".lines"), 10)
    assert text(browser, ".lines mark") == "for /one"
    find(browser, ".tools input[type=search]").clear()
    find(browser, ".tools input[type=search]").send_keys(" ", Keys.BACKSPACE)
    press(browser, "Pause")
    server.get(host, "/three")
    eventually(lambda: "new" in text(browser, ".tools [role=status]"), 10)
    assert "/three" not in text(browser, ".lines")
    press(browser, "Resume")
    eventually(lambda: "asked for /three" in text(browser, ".lines"), 10)
    browser.execute_script(
        "const s = document.querySelector('.tools select'); s.value = 'system'; s.dispatchEvent(new Event('change'))"
    )
    eventually(lambda: "asked for" not in text(browser, ".lines"), 10)


def test_earlier_lines_come_portion_by_portion_without_hole(server: Platform, browser: Any) -> None:
    """Lines that came in one burst, and so at one instant, among them."""
    once = {"networking": {"protocol": "none"}, "restart": {"policy": "never"}}
    deployment = server.deploy(b"#!/bin/sh\nseq -f 'number %.0f' 2500\n", wait=False, **once)
    server.wait(deployment["id"], lambda seen: seen["phase"] == "done")
    browser.get(f"{server.api_url}/#/deployments/{deployment['id']}")
    pick(browser, "Stream", "stdout")
    eventually(lambda: shown_lines(browser) < 1001 and shown_lines(browser) > 900)
    while shown_lines(browser) < 2500:
        before = shown_lines(browser)
        press(browser, "Earlier lines")
        eventually(lambda before=before: shown_lines(browser) > before)
    assert shown_lines(browser) == 2500
    browser.execute_script("document.querySelector('.lines').scrollTop = 0")
    eventually(lambda: {"number 1", "number 2"} <= set(text(browser, ".lines").splitlines()))


def shown_lines(browser: Any) -> int:
    """How many lines fit what is searched for."""
    return int(text(browser, ".tools [role=status]").split()[0])


def pick(browser: Any, label: str, value: str) -> None:
    find(browser, f"select[aria-label={label}] option[value={value}]").click()


@pytest.mark.parametrize("features", [[], [DARK["features"][0]]], ids=["light", "dark"])
def test_no_view_keeps_anybody_out(server: Platform, browser: Any, features: list[Any]) -> None:
    deployment = server.deploy(SAYING)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    own = [f"deployments/{deployment['id']}", f"apps/{deployment['app_id']}"]
    for view in ("", *own, "events", "actors", "deploy"):
        browser.get("about:blank")
        browser.get(f"{server.api_url}/#/{view}")
        eventually(lambda: text(browser, "h1"), 30)
        eventually(lambda: text(browser, "#connection") == "live", 30)
        assert violations(browser) == [], view
        picture(browser, f"view-{view.split('/')[0] or 'fleet'}-{'dark' if features else 'light'}")


def test_a_question_may_be_left_without_an_answer(server: Platform, browser: Any) -> None:
    deployment = server.deploy(SAYING)
    browser.get(f"{server.api_url}/#/deployments/{deployment['id']}")
    press(browser, "Cancel")
    assert violations(browser) == []
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    eventually(lambda: not browser.execute_script("return document.querySelector('dialog')"), 10)
    assert server.deployment(deployment["id"])["status"] == "running"
    order(browser, "Sleep")
    eventually(lambda: text(browser, ".head .badge") == "asleep", 20)
