"""What all commands that call a server share: how the server is named, how failures end, where output goes.

`client_command` decorates such a command; the command gets a `Remote`. Single-threaded.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from platformd.client import Client, ClientError, Deployment, Unreachable
from platformd.client.api import DEFAULT_NAMESPACE

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

    def say(self, text: str, style: str | None = None) -> None:
        """Something on the way, for people."""
        if not self.as_json:
            self.err.print(text, style=style, soft_wrap=True)

    def print_json(self, answer: object) -> None:
        print(json.dumps(answer, indent=2, ensure_ascii=False))

    def app_name(self, app_id: str) -> str:
        """An app as people write it."""
        if app_id not in self._app_names:
            app = self.client.app(app_id)
            self._app_names[app_id] = written(app["namespace"], app["name"])
        return self._app_names[app_id]

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
            end(str(error))

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


def end(message: str, code: int = FAILED) -> None:
    """Ends the command with a message on stderr."""
    click.echo(f"{click.style('Error:', fg='red')} {message}", err=True)
    sys.exit(code)
