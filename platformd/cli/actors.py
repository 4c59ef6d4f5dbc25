"""`platformd actors`: look at the actors that look after deployments and tasks, and set them right. Single-threaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile

import click

from platformd import ids
from platformd.cli import show
from platformd.cli.remote import Remote, client_command
from platformd.client import Actor, Client

_STATES = ("idle", "ready", "running", "parked", "waiting", "quarantined", "closed", "dormant")
_KINDS = ("deployment", "task")


@click.group()
def actors() -> None:
    """List, restart and resume the actors that look after deployments and tasks."""


@actors.command("list", epilog="Example: platformd actors list --state quarantined")
@click.option("--kind", type=click.Choice(_KINDS), help="Of this kind only.")
@click.option("--state", type=click.Choice(_STATES), help="In this state only.")
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Dormant ones, too: deployments that are rows only."
)
@client_command
def list_(remote: Remote, kind: str | None, state: str | None, everything: bool) -> None:
    """List actors, tasks below their deployments."""
    found = remote.client.actors(kind=kind, state=state)
    if state is None and not everything:
        found = takewhile(lambda each: each["state"] != "dormant", found)  # they come last
    listed = list(found)
    if remote.as_json:
        remote.print_json(listed)
        return
    if not listed:
        remote.say("no actors; a deployment that does nothing has none, --all shows it as dormant")
        return
    shown = show.table("ACTOR", "STATE", "WAITING", "RESTARTS", "ABOUT", "LAST FAILURE")
    for mark, each in _as_tree(listed):
        waiting = each["mailbox"]["facts"] + each["mailbox"]["commands"]
        about = ", ".join(f"{name} {value}" for name, value in each["about"].items() if value is not None)
        failure = each["last_failure"]
        said = "" if failure is None else f"{failure['error']} ({show.age(failure['at'])} ago)"
        shown.add_row(
            mark + each["key"], show.state(each["state"]), str(waiting), str(each["restarts"]), about, said
        )
    remote.out.print(shown)


def _as_tree(found: list[Actor]) -> Iterable[tuple[str, Actor]]:
    """Each after its parent, where that is among them."""
    keys = {each["key"] for each in found}
    children: dict[str, list[Actor]] = {}
    for each in found:
        if each["parent"] in keys:
            children.setdefault(str(each["parent"]), []).append(each)
    for each in found:
        if each["parent"] not in keys:
            yield "", each
            yield from (("  ", child) for child in children.get(each["key"], ()))


def _order(name: str, help: str, done: str, give: Callable[[Client, str], Actor]) -> None:
    @actors.command(
        name,
        help=f"{help}\n\nACTOR is its key, as `actors list` shows it, or a deployment: an id, the beginning of "
        "one, or app@version.",
        epilog=f"Example: platformd actors {name} shop@3",
    )
    @click.argument("actor")
    @client_command
    def command(remote: Remote, actor: str) -> None:
        changed = give(remote.client, _key(remote, actor))
        if remote.as_json:
            remote.print_json(changed)
        else:
            remote.out.print(f"{changed['key']} is {done}", soft_wrap=True)


_order(
    "restart",
    "Replace an actor by one made from its last snapshot; what waits for it stays, what it looks after goes on.",
    "replaced",
    Client.restart_actor,
)
_order("resume", "End an actor's quarantine.", "resumed", Client.resume_actor)


def _key(remote: Remote, text: str) -> str:
    kind, _, id = text.partition(":")
    if kind in _KINDS and ids.is_id(id):
        return text
    return f"deployment:{remote.deployment(text)['id']}"
