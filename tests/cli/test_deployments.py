"""Deploying and ordering from the command line, against a real server."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

import pytest

from tests.cli.commands import FAILING, Commands


def script(folder: Path, content: bytes, name: str = "script") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_deploy_makes_a_missing_app_and_ends_with_the_url(shared: Commands, tiny: Path) -> None:
    done = shared("deploy", "web", "--binary", tiny)
    url = done.stdout.strip()
    assert url.startswith("http://web-")
    assert "made the app web, which was not there" in done.stderr
    assert re.search(r"uploaded tiny, \d+\.\d kB", done.stderr)
    assert "created web@1 in development" in done.stderr
    assert re.search(r"ready after \d", done.stderr)
    assert "\x1b" not in done.stdout + done.stderr
    assert shared.platform.get(urllib.parse.urlsplit(url).hostname or "").text == "ok\n"

    again = shared("deploy", "web", "--binary", tiny)
    assert "made the app" not in again.stderr
    assert "created web@2" in again.stderr


def test_what_is_given_reaches_the_specification(shared: Commands, tiny: Path) -> None:
    made = shared.json(
        *("deploy", "team/full", "--binary", tiny, "--environment", "staging", "--replicas", "2"),
        *("--health", "/health", "-e", "HEALTH_MS=10", "-e", "EMPTY=", "-e", "A=b=c"),
    )
    assert made["status"] == "running"
    assert made["environment_slug"] == "staging"
    assert made["spec"]["replicas"] == made["tasks_ready"] == 2
    assert made["spec"]["networking"]["health_path"] == "/health"
    assert made["spec"]["env"] == {"HEALTH_MS": "10", "EMPTY": "", "A": "b=c"}
    assert shared.json("apps", "show", "team/full")["namespace"] == "team"
    shared("cancel", "team/full@1")
    fixed = shared.json("deploy", "team/full", "--binary", tiny, "--port", "21999", "--no-wait")
    assert fixed["spec"]["networking"]["port"] == 21999
    shared("cancel", fixed["id"])


def test_a_failing_deploy_shows_its_last_lines(shared: Commands, tmp_path: Path) -> None:
    done = shared("deploy", "bad", "--binary", script(tmp_path, FAILING), code=1)
    assert done.stdout == ""
    assert "backing_off: exited with code 3 (EXITED)" in done.stderr
    after = done.stderr.split("its last lines:\n", 1)[1]
    assert "cannot find the database" in after
    assert "looking for it" in after
    assert after.rstrip().splitlines()[-1].startswith("Error: bad@1 failed: ")


def test_a_failing_deploy_in_json(shared: Commands, tmp_path: Path) -> None:
    failed = shared.json("deploy", "bad-json", "--binary", script(tmp_path, FAILING), code=1)
    assert failed["status"] == "failed"
    assert failed["reason"]["exit_code"] == 3


def test_no_wait_returns_at_once(shared: Commands, tiny: Path) -> None:
    done = shared("deploy", "later", "--binary", tiny, "-e", "NEVER=1", "--no-wait")
    assert done.stdout.startswith("http://later-")
    assert "ready" not in done.stderr
    assert shared.json("status", "later@1")["status"] == "pending"
    assert shared.json("cancel", "later@1")["status"] == "cancelled"


def test_a_life_in_orders(shared: Commands, tiny: Path) -> None:
    id = shared.json("deploy", "life", "--binary", tiny)["id"]
    platform = shared.platform
    assert shared("scale", "life@1", "3").stdout.startswith("life@1 is updating, ")
    platform.wait(id, lambda seen: seen["tasks_ready"] == 3)
    assert shared.json("sleep", id[:13])["id"] == id
    platform.wait(id, lambda seen: seen["phase"] == "asleep")
    assert "life@1" in shared("wake", "default/life@1").stdout
    platform.wait(id, lambda seen: seen["tasks_ready"] == 3)
    assert shared("cancel", id).stdout.startswith("life@1 is cancelled")
    platform.wait(id, lambda seen: seen["phase"] == "done")
    assert "INVALID_STATE" in shared("wake", id, code=1).stderr


def test_promote_makes_a_version_elsewhere(shared: Commands, tiny: Path) -> None:
    shared("deploy", "up", "--binary", tiny)
    done = shared("promote", "up@1", "--to", "production")
    assert "created up@2 in production" in done.stderr
    promoted = shared.json("status", "up@2")
    assert promoted["status"] == "running"
    assert done.stdout.strip() == promoted["preview_url"]
    assert promoted["spec"]["artifact_id"] == shared.json("status", "up@1")["spec"]["artifact_id"]


def test_lists_and_details(shared: Commands, tiny: Path) -> None:
    shared("apps", "create", "team/listed", "--description", "one\ntwo", "--label", "tier=web=1")
    shared("deploy", "team/listed", "--binary", tiny, "--environment", "production")
    shared("deploy", "team/listed", "--binary", tiny)
    shared("cancel", "team/listed@2")

    rows = shared("ps", "team/listed").stdout.splitlines()
    assert rows[0].split() == ["DEPLOYMENT", "ID", "ENVIRONMENT", "PHASE", "READY", "AGE", "URL"]
    [only] = [row.split() for row in rows[1:]]
    assert only[0] == "team/listed@1"
    assert only[2:5] == ["production*", "ready", "1/1"]
    everything = shared("ps", "team/listed", "--all").stdout
    assert re.search(r"team/listed@2 +\w+ +development +cancelled", everything)
    assert [each["version"] for each in shared.json("ps", "team/listed", "--all")] == [2, 1]
    assert "team/listed@1" in shared("ps").stdout

    detail = shared("status", "team/listed@1").stdout
    assert re.search(r"^phase +ready", detail, re.MULTILINE)
    assert re.search(r"^environment +production, its address leads here", detail, re.MULTILINE)
    [task] = [line for line in detail.splitlines() if re.match(r"\w{8} +running", line)]
    assert task.split()[2].isdecimal()

    listed = shared("apps", "list", "--namespace", "team").stdout
    assert re.search(r"^team/listed .* one two *$", listed, re.MULTILINE)
    shown = shared("apps", "show", "team/listed").stdout
    assert re.search(r"^labels +tier=web=1", shown, re.MULTILINE)
    assert "team/listed@2" in shown
    [app] = [app for app in shared.json("apps", "list") if app["name"] == "listed"]
    assert app["labels"] == {"tier": "web=1"}


def test_names_that_mean_nothing_are_said_to(shared: Commands, tiny: Path) -> None:
    shared("deploy", "named", "--binary", tiny, "--no-wait")
    for name, said in {
        "named@7": "app named has no version 7",
        "named@x": "'x' is no version",
        "named@": "'' is no version",
        "ghost@1": "APP_NOT_FOUND",
        "zz": "'zz' is no deployment",
        "@1": "'' is no app",
        "a/b/c@1": "'a/b/c' is no app",
        "00000000-0000-4000-8000-000000000000": "DEPLOYMENT_NOT_FOUND",
        "a b@1": "APP_NOT_FOUND",
    }.items():
        assert said in shared("status", name, code=1).stderr, name
    shared("cancel", "named@1")


def test_an_ambiguous_prefix_names_those_it_fits(shared: Commands, tiny: Path) -> None:
    """Of 17 ids, two begin with the same digit."""
    first = shared.json("deploy", "many", "--binary", tiny, "--replicas", "0")
    body = {"artifact_id": first["spec"]["artifact_id"], "replicas": 0}
    ids = [first["id"]]
    for _ in range(16):
        made = shared.platform.api("POST", f"/apps/{first['app_id']}/deployments", body)
        ids.append(made.json["id"])
    initials = [id[0] for id in ids]
    twice = next(digit for digit in initials if initials.count(digit) > 1)
    refused = shared("status", twice, code=1).stderr
    assert "deployments begin with" in refused
    assert "write more of the id" in refused


@pytest.mark.parametrize(
    "arguments",
    [
        ["deploy", "x", "--binary", "/nowhere"],
        ["deploy", "x"],
        ["deploy", "x", "--binary", "/bin/sh", "-e", "NOVALUE"],
        ["deploy", "x", "--binary", "/bin/sh", "--port", "0"],
        ["scale", "x@1", "many"],
        ["logs", "x@1", "--since", "yesterday"],
        ["logs", "x@1", "--tail", "-1"],
        ["ps", "--server", "ftp://x"],
        ["apps", "create", "x", "--label", "NOVALUE"],
        ["apps", "destroy"],
    ],
)
def test_wrong_usage_is_exit_2(shared: Commands, arguments: list[str]) -> None:
    shared(*arguments, code=2)
    assert not [app for app in shared.json("apps", "list") if app["name"] == "x"]


def test_what_the_server_refuses_is_exit_1_with_every_fault(shared: Commands, tiny: Path) -> None:
    done = shared("deploy", "no_such_name!", "--binary", tiny, code=1)
    assert "/name must be letters" in done.stderr
    shared("apps", "create", "twice")
    assert "SUBDOMAIN_TAKEN" in shared("apps", "create", "twice", code=1).stderr
    text = "/artifact_id is no native executable"
    assert text in shared("deploy", "text", "--binary", __file__, code=1).stderr
