"""How commands take apps and deployments: arguments that a shell can complete, and finding what they name.

Used by the client commands; single-threaded. Completing asks the server that the command would ask, and is silent when
there is none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import click
from click.shell_completion import CompletionItem

from platformd.cli.remote import DEFAULT_SERVER, written
from platformd.client import Client, ClientError

WHICH_APP = "APP is a name, namespace/name, or an id."
WHICH = "DEPLOYMENT is an id, the beginning of one, or app@version."
_PATIENCE_SECS = 1.0
_MOST = 200

_Found = Iterator[tuple[str, str]]


def app_argument(required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The argument APP."""
    return click.argument("app", required=required, shell_complete=_completing(_apps))


def deployment_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument DEPLOYMENT."""
    return click.argument("deployment", shell_complete=_completing(_deployments))(command)


def _completing(
    find: Callable[[Client], _Found],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        with contextlib.suppress(ClientError, ValueError):
            server = ctx.params.get("server") or DEFAULT_SERVER
            client = Client(server, ctx.params.get("token"), timeout=_PATIENCE_SECS)
            found = islice(find(client), _MOST)
            return [CompletionItem(name, help=about) for name, about in found if name.startswith(begun)]
        return []

    return complete


def _apps(client: Client) -> _Found:
    for app in client.apps():
        yield written(app["namespace"], app["name"]), app["description"] or ""


def _deployments(client: Client) -> _Found:
    names = {app["id"]: written(app["namespace"], app["name"]) for app in client.apps()}
    for each in client.deployments():
        if each["phase"] != "done" and each["app_id"] in names:
            yield f"{names[each['app_id']]}@{each['version']}", f"{each['environment_slug']}, {each['phase']}"
