"""What all commands that call a server share: how the server is named, how failures end, where output goes.

`client_command` decorates such a command; the command gets a `Remote`. Single-threaded.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from platformd import ids
from platformd.client import (
    DEFAULT_NAMESPACE,
    App,
    Client,
    ClientError,
    Deployment,
    Event,
    NotNamed,
    Problem,
    Unreachable,
    is_missing_app,
    key_of,
)

DEFAULT_SERVER = "http://127.0.0.1:47080"
FAILED, UNREACHABLE = 1, 3
_WIDE = 10_000  # where nobody looks at it, nothing is wrapped


def console(*, stderr: bool = False) -> Console:
    """One that shows text as it is, in colour on a terminal only."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _WIDE
    return made


class Remote:
    """A server and the terminal: results go to `out`, what is said on the way to `err`."""

    def __init__(self, client: Client, as_json: bool = False) -> None:
        self.client = client
        self.as_json = as_json
        self.out = console()
        self.err = console(stderr=True)
        self._app_names: dict[str, str] = {}
        self._versions: dict[str, int] = {}

    def say(self, text: str, style: str | None = None) -> None:
        """Something on the way, for people."""
        if not self.as_json:
            self.err.print(text, style=style, soft_wrap=True)

    def print_json(self, answer: object) -> None:
        print(json.dumps(answer, indent=2, ensure_ascii=False))

    def gap(self, why: str) -> None:
        """Something between is no longer kept."""
        self.say(f"-- {why}", style="yellow")

    def app(self, name: str) -> App:
        """The app that somebody named; one that is not there is refused with those it may have been."""
        try:
            return self.client.app(name)
        except Problem as error:
            if not is_missing_app(error) or ids.is_id(name):
                raise
        known = [written(app["namespace"], app["name"]) for app in self.client.apps()]
        close = difflib.get_close_matches(written(*key_of(name)), known, n=3)
        advice = (
            f"did you mean {' or '.join(close)}?" if close else "`platformd apps list` shows those there are"
        )
        raise NotNamed(f"there is no app {name} (APP_NOT_FOUND); {advice}")

    def deployment(self, name: str) -> Deployment:
        """The deployment that somebody named, likewise."""
        app, at, version = name.rpartition("@")
        if not at:
            return self.client.deployment(name)
        found = self.app(app)
        try:
            return self.client.deployment(f"{found['id']}@{version}")
        except NotNamed:
            newest = self.client.newest(found["id"], 1)
            if not version.isdecimal() or not newest:
                raise
            raise NotNamed(
                f"app {app} has no version {version}; its newest is {app}@{newest[0]['version']}"
            ) from None

    def app_name(self, app_id: str) -> str:
        """An app as people write it; its id when it is gone."""
        if app_id not in self._app_names:
            self._app_names[app_id] = app_id
            with contextlib.suppress(Problem):
                app = self.client.app(app_id)
                self._app_names[app_id] = written(app["namespace"], app["name"])
        return self._app_names[app_id]

    def subject(self, event: Event) -> str:
        """What an event is about: `app@version`, or the app."""
        id, app = event["deployment_id"], self.app_name(event["app_id"])
        if id is None:
            return app
        if "version" in event["data"]:
            self._versions[id] = int(event["data"]["version"])
        elif id not in self._versions:
            with contextlib.suppress(Problem):
                self._versions[id] = self.client.deployment(id)["version"]
        return f"{app}@{self._versions[id]}" if id in self._versions else f"{app} {id}"

    def learn_app_names(self) -> None:
        """All of them at once, for long lists."""
        self._app_names = {app["id"]: written(app["namespace"], app["name"]) for app in self.client.apps()}

    def name_of(self, deployment: Deployment) -> str:
        """`app@version`."""
        return f"{self.app_name(deployment['app_id'])}@{deployment['version']}"


def written(namespace: str, name: str) -> str:
    return name if namespace == DEFAULT_NAMESPACE else f"{namespace}/{name}"


def client_command(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command --server, --token and --json, calls it with `remote=`, and ends it by its failures: 3 when the
    server cannot be reached, 1 for everything it refuses."""

    @functools.wraps(command)
    def call(server: str, token: str | None, as_json: bool, **given: Any) -> Any:
        try:
            client = Client(server, token)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--server") from None
        try:
            return command(remote=Remote(client, as_json), **given)
        except Unreachable as error:
            end(f"{error}\nStart one with `platformd serve`, or name it with --server URL.", UNREACHABLE)
        except ClientError as error:
            end("\n".join(filter(None, (str(error), _advice(error, token)))))

    optioned: Callable[..., Any] = click.option(
        "--json", "as_json", is_flag=True, help="Print what the API answered."
    )(call)
    optioned = click.option("--token", envvar="PLATFORMD_TOKEN", help="Token. [env: PLATFORMD_TOKEN]")(
        optioned
    )
    return click.option(
        "--server",
        envvar="PLATFORMD_SERVER",
        default=DEFAULT_SERVER,
        metavar="URL",
        help=f"The server's API. [env: PLATFORMD_SERVER; default: {DEFAULT_SERVER}]",
    )(optioned)


def _advice(error: ClientError, token: str | None) -> str:
    if not isinstance(error, Problem):
        return ""
    if error.status == 401:
        known = "It is not, or no longer, valid; " if token else ""
        return f"{known}give a token with --token or PLATFORMD_TOKEN; `platformd token create` makes one."
    return f"Try again in {error.retry_after} s." if error.retry_after else ""


def end(message: str, code: int = FAILED) -> None:
    """Ends the command with a message on stderr."""
    click.echo(f"{click.style('Error:', fg='red')} {message}", err=True)
    sys.exit(code)
