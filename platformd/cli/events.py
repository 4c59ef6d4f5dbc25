"""`platformd events`: what happened, stored or as it happens. Single-threaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

import click

from platformd.cli import show
from platformd.cli.remote import Remote, client_command
from platformd.client import Event

DEFAULT_TAIL = 100


@click.command(epilog="Example: platformd events -f --app shop --type task.exited,wake.")
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--app", metavar="APP", help="Of this app only: a name, namespace/name, or an id.")
@click.option(
    "--deployment", metavar="DEPLOYMENT", help="Of this one only: an id, its beginning, or app@version."
)
@click.option(
    "--type",
    "types",
    metavar="TYPE,…",
    help="Such as task.exited, or wake. for all that begin so; several with commas.",
)
@click.option("--tail", type=click.IntRange(0, 1000), default=DEFAULT_TAIL, show_default=True, metavar="N")
@client_command
def events(
    remote: Remote, follow: bool, app: str | None, deployment: str | None, types: str | None, tail: int
) -> None:
    """Print what happened to apps, deployments, tasks and builds, oldest first.

    With --json, the API's array; while following, one object a line.
    """
    app_id = None if app is None else remote.app(app)["id"]
    id = None if deployment is None else remote.deployment(deployment)["id"]
    if follow:
        try:
            coming = remote.client.follow_events(
                app_id=app_id, deployment_id=id, types=types, tail=tail, on_gap=remote.gap
            )
            _print(remote, coming)
        except KeyboardInterrupt:
            return
    found = remote.client.events(app_id=app_id, deployment_id=id, types=types, limit=tail) if tail else []
    if remote.as_json:
        remote.print_json(found)
    else:
        _print(remote, found)


def _print(remote: Remote, found: Iterable[Event]) -> None:
    for event in found:
        if remote.as_json:
            line = json.dumps(event, ensure_ascii=False)
        else:
            line = show.event_line(event, remote.subject(event), remote.out.is_terminal)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
