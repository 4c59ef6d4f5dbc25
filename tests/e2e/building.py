"""What tests of builds do again and again with a real server."""

from __future__ import annotations

from typing import Any

from tests.e2e.platform import Platform
from tests.support import eventually

PATIENCE = 60.0


def make_app(platform: Platform, name: str) -> str:
    return platform.api("POST", "/apps", {"name": name}).json["id"]


def set_source(platform: Platform, app_id: str, **source: Any) -> None:
    answer = platform.api("PUT", f"/apps/{app_id}/source", {"type": "github", **source})
    assert answer.status == 200, answer.text


def build_of(platform: Platform, build_id: str) -> dict[str, Any]:
    return platform.api("GET", f"/builds/{build_id}").json


def settled(platform: Platform, build_id: str, within: float = PATIENCE) -> dict[str, Any]:
    """The build once nothing of it runs any more."""

    def done() -> dict[str, Any] | None:
        build = build_of(platform, build_id)
        return build if build["phase"] == "done" else None

    return eventually(done, within)


def log_of(platform: Platform, build_id: str) -> list[str]:
    return [entry["message"] for entry in platform.api("GET", f"/builds/{build_id}/logs").json]
