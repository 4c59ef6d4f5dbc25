"""Sources and builds from the command line, against a real server and a real git server."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Commands
from tests.e2e.building import packed
from tests.e2e.conftest import open_folder
from tests.e2e.platform import Platform
from tests.git_host import GitHost

SERVER = "#!/bin/sh\nexec python3 -m http.server $PORT --bind $HOST\n"
TOKEN = "ghs_from_a_file"


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    with GitHost(tmp_path_factory.mktemp("git"), TOKEN).serving() as host:
        yield host


@pytest.fixture(scope="module")
def here(git_host: GitHost) -> Iterator[Commands]:
    root = open_folder()
    server = Platform(root / "data", "--github-url", git_host.url)
    try:
        yield Commands(server.start())
    finally:
        server.destroy()
        shutil.rmtree(root, ignore_errors=True)


def test_a_source_is_set_built_and_deployed(here: Commands, git_host: GitHost, tmp_path: Path) -> None:
    sha = git_host.repository("octo/shop").commit({"server": SERVER}, "Open the shop")
    (tmp_path / "token").write_text(TOKEN + "\n")
    here("apps", "create", "shop")
    building = ("--command", "echo built here", "--artifact", "server")
    token = ("--secret", f"access_token={tmp_path / 'token'}")
    assert "octo/shop" in here("source", "set", "shop", "--repository", "octo/shop", *building, *token).stderr
    here("source", "set", "shop", "--repository", "octo/shop", *building)
    assert here.json("source", "show", "shop")["access_token"] == "***"

    started = here("builds", "start", "shop", "--ref", sha[:10])
    assert "built here" in started.stderr
    [build] = here.json("builds", "list", "shop")
    assert (build["state"], build["commit"]["sha"]) == ("succeeded", sha)
    assert sha[:8] in here("builds", "list").stdout
    assert "Open the shop" in here("builds", "show", build["id"][:8]).stdout
    assert "built here" in here("builds", "logs", build["id"][:8]).stdout
    assert "built here" in here("builds", "logs", build["id"][:8], "-f").stdout
    assert "cannot be cancelled" in here("builds", "cancel", build["id"][:8], code=1).stderr

    deployed = here("deploy", "shop", "--git", "main", "--environment", "production")
    assert "built here" in deployed.stderr
    [made] = here.json("ps", "shop")
    assert (made["status"], made["commit"]["sha"]) == ("running", sha)


def test_a_tree_is_sent_and_built(here: Commands, tmp_path: Path) -> None:
    archive = tmp_path / "tree.tar"
    archive.write_bytes(packed({"server": SERVER}, form=""))
    here("apps", "create", "sent")
    building = ("--command", "echo built of what was sent", "--artifact", "server")
    here("source", "set", "sent", "--repository", "octo/nowhere", *building)
    assert "built of what was sent" in here("builds", "start", "sent", "--tar", archive).stderr
    piped = subprocess.run(
        [sys.executable, "-m", "platformd", "builds", "start", "sent", "--tar", "-", "--json"],
        input=archive.read_bytes(),
        capture_output=True,
        env={**os.environ, "PLATFORMD_SERVER": here.server},
        timeout=100,
        check=True,
    )
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert json.loads(piped.stdout)["upload"] == digest
    assert [each["upload"] for each in here.json("builds", "list", "sent")] == [digest, digest]
    here("builds", "start", "sent", "--tar", archive, "--ref", "main", code=2)


def test_a_build_that_fails_ends_the_command_with_why(here: Commands, git_host: GitHost) -> None:
    git_host.repository("octo/broken").commit({"server": SERVER})
    here("apps", "create", "broken")
    here("source", "set", "broken", "--repository", "octo/broken", "--dockerfile", "Dockerfile", code=0)
    assert "SOURCE" in here("builds", "start", "broken", code=1).stderr.upper()
    failed = here("deploy", "broken", "--git", "main", code=1)
    assert "build" in failed.stderr


def test_what_contradicts_itself_is_refused(here: Commands, tmp_path: Path) -> None:
    here("apps", "create", "odd")
    here("source", "set", "odd", "--repository", "octo/x", "--command", "a", "--dockerfile", "b", code=2)
    here("source", "set", "odd", "--repository", "octo/x", "--dockerfile", "b", "--secret", "x=y", code=2)
    here("deploy", "odd", "--git", "main", "--image", "nginx", code=2)
    assert "no source" in here("deploy", "odd", "--git", "main", code=1).stderr
