"""GitHub's part, for tests of webhooks with a real server: it tells of pushes and pull requests, signed."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.platform import Answer, Platform
from tests.github.payloads import signature
from tests.support import eventually

SECRET = "It's a Secret to Everybody"


def send(platform: Platform, event: str, payload: Any, guid: str, secret: str = SECRET) -> Answer:
    raw = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": signature(secret, raw),
    }
    return platform.api("POST", "/webhooks/github", raw, headers)


def deliveries(platform: Platform, app_id: str, size: int = 100) -> list[Any]:
    """Oldest first."""
    path = f"/apps/{app_id}/webhook-deliveries?page_size={size}&sort_order=asc"
    found: list[Any] = platform.api("GET", path).json["data"]
    return found


def deployed(platform: Platform, app_id: str, guid: str, within: float = 60.0) -> Any:
    """The running deployment that came of a delivery."""

    def look() -> Any:
        (told,) = [one for one in deliveries(platform, app_id) if one["delivery"] == guid]
        assert told["build_status"] not in ("failed", "cancelled"), told
        return told["deployment_id"]

    return platform.wait(eventually(look, within), lambda d: d["status"] == "running", within)


def builds_of(platform: Platform, app_id: str) -> list[Any]:
    """Every build of an app, oldest first."""
    found: list[Any] = []
    page = 1
    while True:
        path = f"/builds?app_id={app_id}&page={page}&page_size=100&sort_order=asc"
        answer = platform.api("GET", path).json
        found += answer["data"]
        if len(found) >= answer["total"]:
            return found
        page += 1
