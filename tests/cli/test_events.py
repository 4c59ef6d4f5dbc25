"""Events and actors from the command line, against a real server; names that are nearly right."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from tests.cli.commands import Commands, program, running
from tests.e2e.platform import Platform


def test_events_are_listed_and_followed(shared: Commands, tiny: Path, tmp_path: Path) -> None:
    shared("deploy", "eventful", "--binary", tiny)
    lines = shared("events", "--app", "eventful").stdout.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} eventful app\.created: name eventful", lines[0])
    assert any(re.search(r" eventful@1 deployment\.ready: 1 of 1 ready$", line) for line in lines)
    assert any(re.search(r" eventful@1/\w{8} task\.running$", line) for line in lines)
    found = shared.json("events", "--deployment", "eventful@1", "--type", "deployment.", "--tail", "2")
    assert [event["type"].partition(".")[0] for event in found] == ["deployment"] * 2
    assert shared("events", "--tail", "0").stdout == ""

    following = ("events", "-f", "--app", "eventful", "--tail", "1", "--server", shared.server)
    with running(tmp_path / "out", *following) as watching:
        watching.says("eventful@1")
        shared("sleep", "eventful@1")
        said = watching.says("deployment.asleep")
        assert "task.exited: as asked" in said
        assert watching.interrupt(signal.SIGINT) == 0
    with running(tmp_path / "json", *following, "--json") as watching:
        watching.says("deployment.asleep")
        assert json.loads(watching.said.splitlines()[0])["type"]


def test_actors_are_listed_restarted_and_resumed(shared: Commands, tiny: Path) -> None:
    made = shared.json("deploy", "acted", "--binary", tiny)
    rows = shared("actors", "list").stdout.splitlines()
    assert rows[0].split() == ["ACTOR", "STATE", "WAITING", "RESTARTS", "ABOUT", "LAST", "FAILURE"]
    at = next(number for number, row in enumerate(rows) if row.startswith(f"deployment:{made['id']} "))
    assert rows[at + 1].startswith("  task:")
    task = shared.json("actors", "list", "--kind", "task")[0]["key"]
    assert f"deployment:{made['id']} is replaced" in shared("actors", "restart", "acted@1").stdout
    assert shared.json("actors", "restart", task)["key"] == task
    assert "INVALID_STATE" in shared("actors", "resume", "acted@1", code=1).stderr
    shared("cancel", "acted@1")
    shared.platform.wait(made["id"], lambda seen: seen["phase"] == "done")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("status", "nerly@1"), "there is no app nerly (APP_NOT_FOUND); did you mean nearly?"),
        (("status", "nearly@7"), "app nearly has no version 7; its newest is nearly@1"),
        (("apps", "show", "zzzzzz"), "`platformd apps list` shows those there are"),
        (("status", "ffffffff-0000"), "there is no deployment whose id begins with"),
        (("rollback", "nerly"), "did you mean nearly?"),
        (("env", "get", "default/nerly"), "did you mean nearly?"),
    ],
)
def test_a_name_that_is_nearly_right(arguments: tuple[str, ...], answer: str, nearly: Commands) -> None:
    assert answer in nearly(*arguments, code=1).stderr


@pytest.fixture(scope="module")
def nearly(shared: Commands) -> Commands:
    """With an app of that name, and its first version."""
    app = shared.platform.app("nearly")
    body = {"process_type": "docker", "image": "busybox:1", "replicas": 0}
    shared.platform.api("POST", f"/apps/{app['id']}/deployments", body)
    return shared


def test_a_token_is_asked_for(data_dir: Path) -> None:
    secret = program("token", "create", "--name", "x", "--data-dir", data_dir).stdout.strip()
    server = Platform(data_dir, "--require-token")
    try:
        commands = Commands(server.start())
        assert "give a token with --token or PLATFORMD_TOKEN" in commands("ps", code=1).stderr
        assert "not, or no longer, valid" in commands("ps", "--token", "pd_nope", code=1).stderr
        assert commands.json("ps", "--token", secret) == []
        revoked = json.loads(program("token", "revoke", "x", "--json", "--data-dir", data_dir).stdout)
        assert revoked["revoked_at"]
    finally:
        server.destroy()
