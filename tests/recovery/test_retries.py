"""kill -9 between what a request did and its answer: sent again with its key, it is answered and done once."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.platform import Platform

KEY = {"Idempotency-Key": "once"}
BYTES = b"#!/bin/sh\nexec sleep 1000\n"


def _app(platform: Platform) -> tuple[str, Any]:
    return "/apps", {"name": "shop"}


def _deployment(platform: Platform) -> tuple[str, Any]:
    artifact = platform.artifact(BYTES)
    return f"/apps/{platform.app()['id']}/deployments", {"artifact_id": artifact, "replicas": 0}


def _promotion(platform: Platform) -> tuple[str, Any]:
    made = platform.deploy(BYTES, replicas=0)
    return f"/deployments/{made['id']}/promote", {"environment": "production"}


def _environment(platform: Platform) -> tuple[str, Any]:
    return f"/apps/{platform.app()['id']}/environments", {"slug": "staging"}


def _upload(platform: Platform) -> tuple[str, Any]:
    made = platform.api("POST", "/artifacts", {"name": "x"}).json
    return f"/artifacts/{made['id']}/upload", BYTES


CASES: tuple[tuple[str, Callable[[Platform], tuple[str, Any]]], ...] = (
    ("CreateApp", _app),
    ("CreateDeployment", _deployment),
    ("CreateDeployment", _promotion),
    ("CreateEnvironment", _environment),
    ("CompleteArtifact", _upload),
    ("KeepAnswer", _deployment),
)


@pytest.mark.parametrize(("operation", "request_of"), CASES)
def test_dead_between_act_and_answer(
    platform: Platform, operation: str, request_of: Callable[[Platform], tuple[str, Any]]
) -> None:
    path, body = request_of(platform)
    before = _everything(platform)
    platform.kill()
    platform.start(PLATFORMD_CRASH_AT=f"after:{operation}")
    with pytest.raises((http.client.HTTPException, OSError)):
        platform.api("POST", path, body, KEY)
    platform.kill()
    platform.start()
    made = _everything(platform) - before
    first, second = (platform.api("POST", path, body, KEY) for _ in range(2))
    assert first.status in (200, 201), first.text
    assert (second.status, second.body, second.headers["Idempotency-Replayed"]) == (
        first.status,
        first.body,
        "true",
    )
    assert _everything(platform) - before == made
    if first.status == 201 and "Location" in first.headers:
        assert platform.api("GET", first.headers["Location"].removeprefix("/api/v1")).status == 200


def test_dead_between_an_order_and_its_answer(platform: Platform, tiny: Path) -> None:
    """A restart that is given once more would replace every task once more."""
    made = platform.deploy(tiny)
    path = f"/deployments/{made['id']}/restart"
    platform.kill()
    platform.start(PLATFORMD_CRASH_AT="before:StartTask")
    with pytest.raises((http.client.HTTPException, OSError)):
        platform.api("POST", path, None, KEY)
    platform.kill()
    platform.start()
    first, second = (platform.api("POST", path, None, KEY) for _ in range(2))
    assert (first.status, first.json["generation"]) == (202, made["generation"] + 1)
    assert (second.status, second.body) == (202, first.body)
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    platform.wait(made["id"], lambda d: d["observed_generation"] == made["generation"] + 1 == d["generation"])


def _everything(platform: Platform) -> set[str]:
    """What there is to be made twice."""
    found = {
        one["id"]
        for kind in ("apps", "deployments", "artifacts")
        for one in platform.api("GET", f"/{kind}?page_size=100").json["data"]
    }
    return found | {
        str(platform.data_dir / name.name) for name in Path(platform.data_dir / "artifacts").iterdir()
    }
