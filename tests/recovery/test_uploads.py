"""kill -9 while bytes are sent, a tree's or an artifact's: nothing half is left, and they can be sent again."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.building import make_app, packed, set_source, settled
from tests.e2e.platform import Platform
from tests.support import eventually

MIB = 1 << 20
PROGRAM = b"#!/bin/sh\nexec sleep 1000\n"
SENT_IN_VAIN = 2 * MIB
CUT = (ConnectionError, http.client.HTTPException)


@dataclass(frozen=True)
class Sending:
    """A request with more than `SENT_IN_VAIN` bytes for `folder`, recorded by `operation`. `made` tells the digests of
    what the rows have, `works` that the one that is there is whole; what is `swept_later` may lie there without a row
    for as long as the retention leaves it."""

    path: str
    media_type: str
    body: bytes
    folder: Path
    operation: str
    made: Callable[[], list[str]]
    works: Callable[[], object]
    swept_later: frozenset[str] = frozenset()

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": self.media_type, "Idempotency-Key": "once"}

    def kept(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]


def _tree(platform: Platform) -> Sending:
    app_id = make_app(platform, "web")
    build = {"kind": "command", "command": "true", "artifact_path": "server"}
    set_source(platform, app_id, repository="octo/none", build=build)

    def builds() -> list[dict[str, str]]:
        found: list[dict[str, str]] = platform.api("GET", "/builds").json["data"]
        return found

    def works() -> None:
        [build] = builds()
        assert settled(platform, build["id"])["state"] == "succeeded"

    noise = os.urandom(2 * MIB).hex()
    return Sending(
        path=f"/builds?app_id={app_id}",
        media_type="application/gzip",
        body=packed({"server": PROGRAM.decode(), "noise": noise}),
        folder=platform.data_dir / "builds" / "uploads",
        operation="RequestBuild",
        made=lambda: [build["upload"] for build in builds()],
        works=works,
    )


def _artifact(platform: Platform) -> Sending:
    artifact_id = platform.api("POST", "/artifacts", {"name": "x"}).json["id"]
    body, folder = PROGRAM + os.urandom(4 * MIB), platform.data_dir / "artifacts"

    def digest() -> str | None:
        found: str | None = platform.api("GET", f"/artifacts/{artifact_id}").json["sha256"]
        return found

    def works() -> None:
        [name] = [path.name for path in folder.iterdir()]
        assert name == digest() == hashlib.sha256((folder / name).read_bytes()).hexdigest()

    return Sending(
        path=f"/artifacts/{artifact_id}/upload",
        media_type="application/octet-stream",
        body=body,
        folder=folder,
        operation="CompleteArtifact",
        made=lambda: [found for found in [digest()] if found is not None],
        works=works,
        swept_later=frozenset({hashlib.sha256(body).hexdigest()}),
    )


@pytest.fixture(params=[_tree, _artifact], ids=["tree", "artifact"])
def sending(platform: Platform, request: pytest.FixtureRequest) -> Sending:
    made: Sending = request.param(platform)
    return made


@contextlib.contextmanager
def begun(platform: Platform, sending: Sending) -> Iterator[None]:
    """A part of the bytes is sent, and the disk has it."""
    where = urlsplit(platform.api_url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
    try:
        connection.putrequest("POST", f"/api/v1{sending.path}")
        for name, value in {**sending.headers, "Content-Length": str(len(sending.body))}.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(sending.body[:SENT_IN_VAIN])
        eventually(lambda: sum(path.stat().st_size for path in sending.folder.iterdir()) >= SENT_IN_VAIN // 2)
        yield
    finally:
        connection.close()


def sent_again(platform: Platform, sending: Sending) -> None:
    """It is taken as if it had not been sent before, kept once, and once more it is answered alike."""
    first, second = (platform.api("POST", sending.path, sending.body, sending.headers) for _ in range(2))
    assert first.status in (200, 202), first.text
    assert (second.status, second.body) == (first.status, first.body)
    assert len(sending.made()) == 1
    sending.works()


def test_killed_while_bytes_come_nothing_of_them_is_left(platform: Platform, sending: Sending) -> None:
    with begun(platform, sending):
        platform.kill()
    assert len(sending.kept()) == 1
    platform.start()
    assert (sending.kept(), sending.made()) == ([], [])
    sent_again(platform, sending)


@pytest.mark.parametrize("side", ["before", "after"])
def test_killed_beside_its_record_they_count_once(platform: Platform, sending: Sending, side: str) -> None:
    """All bytes had come; whether the row was written nobody was told."""
    platform.kill()
    platform.start(PLATFORMD_CRASH_AT=f"{side}:{sending.operation}")
    with pytest.raises(CUT):
        platform.api("POST", sending.path, sending.body, sending.headers)
    platform.kill()
    platform.start()
    made = sending.made()
    assert len(made) == (side == "after")
    assert eventually(lambda: set(sending.kept()) <= {*made, *sending.swept_later})
    sent_again(platform, sending)
