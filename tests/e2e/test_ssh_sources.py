"""Sources behind a real sshd: the app's key opens them, another does not, and a server is known by its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.building import log_of, make_app, set_source, settled
from tests.e2e.platform import Platform
from tests.git_host import Repository
from tests.ssh_host import SshHost

pytestmark = pytest.mark.needs("sshd")
BUILD = {"kind": "command", "command": "true", "artifact_path": "server"}


@pytest.fixture
def host(tmp_path: Path) -> SshHost:
    return SshHost(tmp_path)


@pytest.fixture
def platform(data_dir: Path, host: SshHost) -> Iterator[Platform]:
    """Its data directory has what ssh would read otherwise in its name."""
    odd = data_dir.with_name("it's 100%d a data dir")
    server = Platform(odd, "--github-ssh-url", host.url)
    try:
        yield server.start()
    finally:
        server.destroy()
        shutil.rmtree(odd, ignore_errors=True)


@pytest.fixture
def sha(host: SshHost) -> str:
    return Repository(host.repositories, "octo/shop").commit({"server": "#!/bin/sh\nexec sleep 1000\n"})


def built(platform: Platform, key: str, name: str = "octo/shop") -> dict[str, Any]:
    app_id = make_app(platform, f"app-{len(platform.api('GET', '/apps').json['data'])}")
    set_source(platform, app_id, repository=name, build=BUILD, ssh_key=key)
    build = settled(platform, platform.api("POST", "/builds", {"app_id": app_id}).json["id"])
    assert not any("PRIVATE KEY" in line for line in log_of(platform, build["id"]))
    return build


def refusal(build: dict[str, Any]) -> tuple[str, str]:
    assert build["state"] == "failed"
    return build["reason"]["code"], build["reason"]["message"]


def test_the_apps_key_opens_a_repository(platform: Platform, host: SshHost, sha: str) -> None:
    with host.serving():
        for _ in range(2):
            build = built(platform, host.key)
            assert build["state"] == "succeeded", log_of(platform, build["id"])
            assert build["commit"]["sha"] == sha
        code, message = refusal(built(platform, host.key, "octo/none"))
    assert (code, "octo/none.git" in message) == ("SOURCE_NOT_FOUND", True)
    assert not list(platform.data_dir.rglob("key"))


def test_a_wrong_key_is_not_let_in(platform: Platform, host: SshHost, sha: str) -> None:
    with host.serving():
        for wrong in (host.other_key, "no key at all"):
            code, message = refusal(built(platform, wrong))
            assert code == "SOURCE_UNAUTHORIZED"
            assert "Permission denied (publickey)" in message and "ssh_key" in message


def test_a_server_with_another_key_than_it_had_is_not_believed(
    platform: Platform, host: SshHost, sha: str
) -> None:
    with host.serving():
        assert built(platform, host.key)["state"] == "succeeded"
    with host.serving("other_host"):
        code, message = refusal(built(platform, host.key))
        assert (code, "known_hosts" in message) == ("SOURCE_UNTRUSTED", True)
        (platform.data_dir / "builds" / "mirrors" / "known_hosts").unlink()
        assert built(platform, host.key)["state"] == "succeeded"
    code, message = refusal(built(platform, host.key))
    assert (code, "Connection refused" in message) == ("SOURCE_UNAVAILABLE", True)
