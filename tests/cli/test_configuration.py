"""Variables, domains and the end of apps from the command line, against a real server."""

from __future__ import annotations

import subprocess
import sys

from tests.cli.commands import Commands

SECRET = "correct-horse-battery"


def test_variables_are_set_shown_and_removed(shared: Commands) -> None:
    shared("apps", "create", "vars")
    shared("env", "set", "vars", "A=1", "B=x=y", "EMPTY=")
    shared("env", "set", "vars", f"TOKEN={SECRET}", "--secret")
    assert shared("env", "get", "vars").stdout.splitlines() == ["A=1", "B=x=y", "EMPTY=", "TOKEN=***"]
    assert shared("env", "get", "vars", "B").stdout == "x=y\n"
    shared("env", "unset", "vars", "A", "EMPTY")
    assert shared.json("env", "get", "vars") == {"B": "x=y", "TOKEN": {"secret": True, "value": "***"}}
    shared("env", "get", "vars", "A", code=1)
    assert SECRET not in shared("env", "set", "vars", SECRET, code=2).stdout


def test_a_secret_can_come_from_stdin(shared: Commands) -> None:
    shared("apps", "create", "piped")
    argv = [
        sys.executable,
        "-m",
        "platformd",
        "env",
        "set",
        "piped",
        "TOKEN",
        "--secret",
        "--server",
        shared.server,
    ]
    done = subprocess.run(argv, input=SECRET + "\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and SECRET not in done.stdout + done.stderr
    assert shared("env", "get", "piped").stdout == "TOKEN=***\n"


def test_an_environments_variables_are_its_own(shared: Commands) -> None:
    shared("apps", "create", "scoped")
    shared("env", "set", "scoped", "A=1", "--environment", "production")
    assert shared("env", "get", "scoped").stdout == ""
    assert shared("env", "get", "scoped", "--environment", "production").stdout == "A=1\n"
    shared("env", "get", "scoped", "--environment", "nowhere", code=1)


def test_domains_are_added_listed_and_removed(shared: Commands) -> None:
    shared("apps", "create", "hosted")
    shared("domains", "add", "hosted", "Shop.Example.com", "--environment", "development")
    assert "shop.example.com" in shared("domains", "list", "hosted").stdout
    assert "taken" not in shared("domains", "add", "hosted", "*.example.com", code=1).stderr
    shared("domains", "add", "hosted", "shop.example.com", code=1)
    shared("domains", "remove", "hosted", "shop.example.com")
    assert shared.json("domains", "list", "hosted") == []
    shared("domains", "remove", "hosted", "shop.example.com", code=1)


def test_an_app_is_deleted_once_that_is_confirmed(shared: Commands) -> None:
    shared("apps", "create", "doomed")
    shared("apps", "delete", "doomed", code=1)
    shared("apps", "show", "doomed")
    shared("apps", "delete", "doomed", "--yes")
    shared("apps", "show", "doomed", code=1)
