"""`platformd logs`: what a deployment's tasks print, stored or as it comes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime

import click

from platformd.cli import show
from platformd.cli.names import deployment_argument
from platformd.cli.remote import Remote, client_command
from platformd.client import LogEntry, NotNamed

DEFAULT_TAIL = 100
_DURATION = re.compile(r"\d+(\.\d+)?(ms|s|m|h|d)?")


def _since(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    if text is None or _DURATION.fullmatch(text):
        return text
    try:
        if datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise click.BadParameter(
        f"{text!r} is neither a duration such as 10m nor a time such as 2026-01-31T12:00:00Z"
    )


@click.command(epilog="Example: platformd logs shop@3 -f --since 10m")
@deployment_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the deployment is finished, or Ctrl-C.")
@click.option(
    "--tail", type=click.IntRange(0, 1000), metavar="N", help=f"The last N. [default: {DEFAULT_TAIL}]"
)
@click.option("--since", callback=_since, metavar="10m|TIME", help="From so long ago, or from a time, on.")
@click.option("--task", metavar="ID", help="Of one task only; the beginning of its id is enough.")
@client_command
def logs(
    remote: Remote, deployment: str, follow: bool, tail: int | None, since: str | None, task: str | None
) -> None:
    """Print what a deployment's tasks have printed.

    DEPLOYMENT is an id, the beginning of one, or app@version. With
    --json, the API's array; while following, one object a line.
    """
    found = remote.deployment(deployment)
    task_id = None if task is None else _task(remote, found["id"], task)
    if tail is None and since is None:
        tail = DEFAULT_TAIL
    stored = remote.client.logs(found["id"], tail=tail, since=since, task_id=task_id)
    if follow:
        try:
            _print(remote, _followed(remote, found["id"], task_id, stored))
        except KeyboardInterrupt:
            return
    elif remote.as_json:
        remote.print_json(list(stored))
    else:
        _print(remote, stored)


def _followed(
    remote: Remote, deployment_id: str, task_id: str | None, stored: Iterable[LogEntry]
) -> Iterator[LogEntry]:
    """What is stored, then what comes after it."""
    # Asked for before what is stored is read: with nothing stored, this is where the stream begins.
    before = list(remote.client.logs(deployment_id, tail=1))
    last = before[-1]["id"] if before else 0
    for entry in stored:
        last = max(last, entry["id"])
        yield entry
    yield from remote.client.follow(deployment_id, after=last, task_id=task_id, on_gap=remote.gap)


def _print(remote: Remote, entries: Iterable[LogEntry]) -> None:
    terminal = remote.out.is_terminal
    for entry in entries:
        line = json.dumps(entry, ensure_ascii=False) if remote.as_json else show.log_line(entry, terminal)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _task(remote: Remote, deployment_id: str, prefix: str) -> str:
    found = [
        each["id"] for each in remote.client.tasks(deployment_id) if each["id"].startswith(prefix.lower())
    ]
    if len(found) != 1:
        raise NotNamed(f"{len(found) or 'no'} tasks of this deployment have ids that begin with {prefix!r}")
    return found[0]
