"""Tokens of a real server: none, no start; made and revoked by the command line while it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.platform import Answer, Platform
from tests.support import eventually


def command(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "platformd", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def make(data_dir: Path, *words: str) -> Any:
    done = command("token", "create", "--data-dir", str(data_dir), "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_server_that_needs_tokens_does_not_start_without_one(tmp_path: Path) -> None:
    words = ("--data-dir", str(tmp_path / "data"), "--port", "0", "--gateway-port", "0")
    refused = command("serve", *words, "--require-token")
    assert refused.returncode == 1 and "platformd token create" in refused.stderr
    refused = command("serve", *words, "--host", "0.0.0.0")
    assert refused.returncode == 1 and "platformd token create" in refused.stderr


def test_tokens_are_made_and_revoked_while_the_server_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    admin = make(data, "--name", "root", "--scope", "admin")["token"]
    server = Platform(data, "--require-token").start()
    try:

        def status(secret: str | None) -> int:
            headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
            return int(server._call(server.api_url, "GET", "/api/v1/apps", None, headers).status)

        assert (status(None), status(admin)) == (401, 200)
        made = make(data, "--name", "ci", "--scope", "read")
        assert status(made["token"]) == 200
        ps = command("ps", "--server", server.api_url, "--token", made["token"])
        assert ps.returncode == 0, ps.stderr
        assert command("ps", "--server", server.api_url).returncode == 1
        listed = command("token", "list", "--data-dir", str(data))
        assert "ci" in listed.stdout and made["token"] not in listed.stdout
        assert command("token", "revoke", "ci", "--data-dir", str(data)).returncode == 0
        eventually(lambda: status(made["token"]) == 401, 1)
        assert status(admin) == 200

        mine, other = (_app(server, admin, name) for name in ("mine", "other"))
        narrow = make(data, "--name", "narrow", "--scope", "read")["token"]
        bound = make(data, "--name", "bound", "--scope", "deploy", "--app", mine)["token"]
        for secret, app_id, wanted in ((narrow, mine, 403), (bound, mine, 201), (bound, other, 403)):
            answer = _new_environment(server, secret, app_id)
            assert (answer.status, secret in answer.text) == (wanted, False)
    finally:
        server.destroy()


def _app(server: Platform, secret: str, name: str) -> str:
    made = server.api("POST", "/apps", {"name": name}, {"Authorization": f"Bearer {secret}"})
    return str(made.json["id"])


def _new_environment(server: Platform, secret: str, app_id: str) -> Answer:
    headers = {"Authorization": f"Bearer {secret}"}
    return server.api("POST", f"/apps/{app_id}/environments", {"slug": "staging"}, headers)


@pytest.mark.parametrize("words", [("--name", "x", "--app", "nowhere"), ("--scope", "root", "--name", "x")])
def test_what_cannot_be_made_says_why(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = command("token", "create", "--data-dir", str(tmp_path / "data"), *words)
    assert done.returncode in (1, 2) and ("nowhere" in done.stderr or "root" in done.stderr)
