"""The manual in a browser: nothing keeps anybody out, nothing is asked for elsewhere, and it fits a narrow screen."""

from __future__ import annotations

from typing import Any

import pytest

from platformd import manual
from tests.browser.test_dashboard import complaints, local, text, violations
from tests.browser.test_wake_page import DARK, picture
from tests.e2e.platform import Platform

pytestmark = pytest.mark.needs("chromium", "chromedriver")

NARROW = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}


@pytest.mark.parametrize("features", [[], DARK["features"]], ids=["light", "dark"])
def test_every_page_is_for_everybody(server: Platform, browser: Any, features: list[Any]) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for name in ("", *manual.names()):
        browser.get(f"{server.api_url}/docs/{name}".rstrip("/"))
        assert text(browser, "h1"), name
        assert violations(browser) == [], name
        picture(browser, f"manual-{name or 'index'}-{'dark' if features else 'light'}")
    assert complaints(browser) == []
    assert local(browser)


def test_it_fits_a_narrow_screen(server: Platform, browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", NARROW)
    try:
        for name in ("", *manual.names(), manual.API):
            browser.get(f"{server.api_url}/docs/{name}".rstrip("/"))
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), name
        browser.get(f"{server.api_url}/docs/concepts")
        picture(browser, "manual-narrow")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_diagrams_are_drawn(server: Platform, browser: Any) -> None:
    browser.get(f"{server.api_url}/docs/concepts")
    wide = "return [...document.querySelectorAll('.diagram svg')].map((one) => one.getBoundingClientRect().width)"
    widths = browser.execute_script(wide)
    assert len(widths) == 3 and all(width > 300 for width in widths)
    assert browser.execute_script("return document.querySelectorAll('.diagram table tr').length") > 40
