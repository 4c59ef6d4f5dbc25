"""A month later: what is old is gone from a real data directory, and what somebody may need is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from platformd.artifacts import ArtifactFiles, SentTrees
from platformd.composition import make_retention
from platformd.logstore import LogStore
from platformd.store import Store
from tests.e2e.platform import Platform, host_of
from tests.support import eventually


@pytest.fixture
def platform(data_dir: Path) -> Iterator[Platform]:
    """Keeps one version beside the current one."""
    server = Platform(data_dir, "--keep-versions", "1")
    try:
        yield server.start()
    finally:
        server.destroy()


class Deaf:
    """The server is down: no gateway to tell, no engine to clean up."""

    def forget_deployments(self, ids: list[str]) -> None:
        pass

    def forget_hosts(self, hostnames: tuple[str, ...]) -> None:
        pass

    def drop_images(self, needed: object) -> int:
        return 0


def pass_time(data_dir: Path, days: float, docker: Any = None) -> dict[str, int]:
    """What the server would forget so many days from now, with that driver of an engine, if any."""
    store, loop = Store.open(data_dir), asyncio.new_event_loop()
    try:
        kinds = make_retention(
            store,
            1,
            artifacts=ArtifactFiles(data_dir / "artifacts"),
            uploads=SentTrees(data_dir / "builds" / "uploads", set),
            logs=LogStore(data_dir / "logs"),
            traffic=Deaf(),  # type: ignore[arg-type]
            docker=docker or Deaf(),
            loop=loop,
        )
        return kinds.run(datetime.now(UTC) + timedelta(days=days))
    finally:
        loop.close()
        store.close()


def test_a_month_later(platform: Platform, tiny: Path) -> None:
    app_id = platform.app()["id"]
    versions = [_version(platform, app_id, tiny, number) for number in range(4)]
    oldest, older, kept, current = versions
    stray = platform.artifact(b"#!/bin/sh\nnobody deployed this\n")
    platform.wait(oldest["id"], lambda d: d["phase"] == "done")
    platform.wait(older["id"], lambda d: d["phase"] == "done")
    platform.api("POST", f"/deployments/{kept['id']}/cancel")
    platform.wait(kept["id"], lambda d: d["phase"] == "done")
    eventually(lambda: _lines(platform, current))
    platform.terminate()

    assert set(pass_time(platform.data_dir, 6)) <= {"answers"}
    soon = pass_time(platform.data_dir, 8)
    assert soon.pop("output") >= 3 and set(soon) <= {"answers"}
    late = pass_time(platform.data_dir, 31)
    assert (late["deployments"], late["artifacts"]) == (2, 3)
    assert late["events"] > 10
    files = len(list((platform.data_dir / "artifacts").iterdir()))
    assert files == 2, "of the two that are left"

    platform.start()
    shown = platform.api("GET", f"/apps/{app_id}/deployments").json["deployments"]
    assert [one["id"] for one in shown] == [current["id"], kept["id"]]
    for gone in (oldest, older):
        assert platform.api("GET", f"/deployments/{gone['id']}").status == 404
        assert platform.get(host_of(gone)).status == 404
        assert not (platform.data_dir / "logs" / gone["id"]).exists()
    assert platform.api("GET", f"/artifacts/{stray}").status == 404
    assert platform.api("GET", f"/deployments/{kept['id']}/logs").json == []
    assert _lines(platform, current), "its task lives"
    assert platform.get(host_of(current)).status == 200
    back = platform.api("POST", f"/apps/{app_id}/rollback", {"environment": "development"})
    assert back.status == 201, back.text
    platform.wait(back.json["deployment_id"], lambda d: d["current"])


def _version(platform: Platform, app_id: str, tiny: Path, number: int) -> Any:
    content = tiny.read_bytes() + b"\0" * (number + 1)
    made = platform.deploy(content, app_id)
    return platform.wait(made["id"], lambda d: d["current"])


def _lines(platform: Platform, deployment: Any) -> Any:
    return platform.api("GET", f"/deployments/{deployment['id']}/logs").json
