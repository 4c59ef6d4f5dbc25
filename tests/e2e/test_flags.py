"""Flags of `serve` that have no story of their own: one server with unusual settings, each seen from outside."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import open_folder
from tests.e2e.platform import Platform, host_of
from tests.e2e.test_wake_failures import fragile

ORIGIN = "https://console.example.com"
PORTS = range(26910, 26930)


@pytest.fixture(scope="module")
def unusual() -> Iterator[Platform]:
    root = open_folder()
    (root / "volumes").mkdir()
    running = Platform(
        root / "data",
        *("--gateway-host", "127.0.0.2", "--database", f"sqlite:///{root}/elsewhere/rows.db"),
        *("--domain", "apps.example.com", "--public-scheme", "https", "--public-port", "8443"),
        *("--public-host", "api.example.com", "--cors-origin", ORIGIN),
        *("--gateway-errors", "brief", "--volume-root", str(root / "volumes")),
        *("--task-ports", f"{PORTS.start}-{PORTS.stop - 1}"),
        *("--log-format", "console", "--log-level", "warning"),
    )
    (root / "elsewhere").mkdir()
    try:
        yield running.start()
    finally:
        running.destroy()
        shutil.rmtree(root, ignore_errors=True)


def test_addresses(unusual: Platform, tiny: Path) -> None:
    assert urlsplit(unusual.gateway_url).hostname == "127.0.0.2"
    deployment = unusual.deploy(tiny)
    url = urlsplit(deployment["preview_url"])
    assert (url.scheme, url.port) == ("https", 8443)
    assert (url.hostname or "").endswith("-development.apps.example.com")
    assert unusual.get(host_of(deployment)).text == "ok\n"
    [task] = unusual.tasks(deployment["id"], "running")
    assert int(task["address"].rpartition(":")[2]) in PORTS


def test_the_database_is_elsewhere(unusual: Platform) -> None:
    assert (unusual.data_dir.parent / "elsewhere" / "rows.db").exists()
    assert not (unusual.data_dir / "platformd.db").exists()


def test_names_and_origins_of_the_api(unusual: Platform) -> None:
    assert unusual.api("GET", "/version", headers={"Host": "api.example.com"}).status == 200
    assert unusual.api("GET", "/version", headers={"Host": "other.example.com"}).status == 421
    for origin, allowed in ((ORIGIN, ORIGIN), ("https://evil.example.com", None)):
        answer = unusual.api("GET", "/version", headers={"Origin": origin})
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed


def test_volumes_may_lie_there_and_nowhere_else(unusual: Platform, tiny: Path) -> None:
    inside, outside = unusual.data_dir.parent / "volumes" / "a", unusual.data_dir.parent / "elsewhere"
    inside.mkdir(exist_ok=True)
    spec = {"artifact_id": unusual.artifact(tiny.read_bytes())}
    for path, status in ((inside, 201), (outside, 422)):
        volumes = [{"host_path": str(path), "container_path": str(path)}]
        app = unusual.app()["id"]
        made = unusual.api("POST", f"/apps/{app}/deployments", spec | {"volumes": volumes})
        assert made.status == status, made.text


def test_the_gateway_keeps_to_itself_what_an_app_said_last(
    unusual: Platform, tiny: Path, common: Path
) -> None:
    """Brief is said here, though it listens on loopback; the API tells all the same."""
    deployment = fragile(unusual, tiny, common)
    (common / "broken").touch()
    answer = unusual.get(host_of(deployment))
    assert (answer.status, answer.json["code"]) == (502, "WAKE_CRASHED")
    assert b"exit_code" not in answer.body
    assert b"flux capacitor" not in answer.body
    shown = unusual.wait(deployment["id"], lambda seen: bool(seen["reason"]))
    assert shown["reason"]["last_lines"] == ["the flux capacitor is missing"]


def test_the_log(unusual: Platform) -> None:
    """For people, and nothing that is less than a warning."""
    assert unusual.api("GET", "/version").status == 200
    said = unusual.log.read_text()
    assert '"level"' not in said
    assert not re.search(r"\[(info|debug) *\]", said)
