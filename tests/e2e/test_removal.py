"""Deleting an app takes its deployments, processes, output, addresses and rows away, and a restart goes on with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.platform import Platform, host_of
from tests.support import eventually

STUBBORN = b"#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n"


def rows(platform: Platform, app_id: str) -> int:
    return int(platform.api("GET", f"/deployments?app_id={app_id}").json["total"])


def test_nothing_of_a_deleted_app_is_left(platform: Platform, tiny: Path) -> None:
    app = platform.app("gone")
    other = platform.deploy(tiny)
    awake = platform.deploy(tiny, app["id"])
    asleep = platform.deploy(tiny, app["id"], environment="production")
    platform.sleep(asleep["id"])
    domain = {"domain": "shop.example.com", "environment": "development"}
    assert platform.api("POST", f"/apps/{app['id']}/custom-domains", domain).status == 201
    hosts = [host_of(awake), "shop.example.com", "gone-default-development.localhost"]
    assert [eventually(lambda host=host: platform.get(host).status) for host in hosts] == [200] * 3

    answer = platform.api("DELETE", f"/apps/{app['id']}")

    assert (answer.status, answer.body) == (204, b"")
    assert platform.api("GET", f"/apps/{app['id']}").status == 404
    assert rows(platform, app["id"]) == 0
    assert platform.api("GET", f"/deployments/{awake['id']}").status == 404
    for host in hosts:
        eventually(lambda host=host: platform.get(host).json["code"] == "NO_HOST")
    logs = platform.data_dir / "logs"
    assert not (logs / awake["id"]).exists() and (logs / other["id"]).exists()
    assert platform.api("DELETE", f"/apps/{app['id']}").status == 404
    assert platform.get(host_of(other)).status == 200
    assert platform.app("gone")["id"] != app["id"]


@pytest.mark.slow
def test_a_removal_that_takes_its_time_goes_on_after_a_restart(platform: Platform) -> None:
    app = platform.app()
    stop = {"grace_secs": 8}
    deployment = platform.deploy(STUBBORN, app["id"], networking={"protocol": "none"}, stop=stop)
    answer = platform.api("DELETE", f"/apps/{app['id']}")
    assert answer.status == 202, answer.text
    refused = platform.api("POST", f"/apps/{app['id']}/deployments", {})
    assert (refused.status, refused.json["code"]) == (404, "APP_NOT_FOUND")
    platform.kill()
    platform.start()
    eventually(lambda: platform.api("GET", f"/apps/{app['id']}").status == 404, 30)
    assert platform.api("GET", f"/deployments/{deployment['id']}").status == 404
