"""`platformd apps`: make, list, show and delete apps."""

from __future__ import annotations

import click

from platformd.cli import show
from platformd.cli.names import app_argument
from platformd.cli.remote import Remote, client_command, written
from platformd.client import key_of


@click.group()
def apps() -> None:
    """Make, list, show and delete apps."""


@apps.command(epilog="Example: platformd apps create team/shop --label tier=web")
@click.argument("name")
@click.option("--description", metavar="TEXT", help="A line for people.")
@click.option("--label", multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@client_command
def create(remote: Remote, name: str, description: str | None, label: tuple[str, ...]) -> None:
    """Make an app. NAME is its name, or namespace/name."""
    for text in label:
        if "=" not in text:
            raise click.BadParameter(f"{text!r} is no NAME=VALUE", param_hint="--label")
    labels = dict(text.split("=", 1) for text in label)
    namespace, short = key_of(name)
    app = remote.client.create_app(short, namespace, description=description, labels=labels)
    if remote.as_json:
        remote.print_json(app)
        return
    remote.out.print(f"made {written(app['namespace'], app['name'])}, id {app['id']}", soft_wrap=True)


@apps.command("list", epilog="Example: platformd apps list --namespace team")
@click.option("--namespace", metavar="NAME", help="Of this namespace only.")
@client_command
def list_(remote: Remote, namespace: str | None) -> None:
    """List apps by name."""
    found = list(remote.client.apps(namespace))
    if remote.as_json:
        remote.print_json(found)
        return
    if not found:
        remote.say("no apps; `platformd deploy APP --binary FILE` makes one")
        return
    shown = show.table("APP", "ID", "SUBDOMAIN", "AGE", "DESCRIPTION")
    for app in found:
        name = written(app["namespace"], app["name"])
        description = " ".join((app["description"] or "").split())
        shown.add_row(name, app["id"], app["subdomain"], show.age(app["created_at"]), description)
    remote.out.print(shown)


@apps.command("show", epilog="Example: platformd apps show team/shop")
@app_argument()
@client_command
def show_(remote: Remote, app: str) -> None:
    """Show an app and its newest deployments. APP is a name, namespace/name, or an id."""
    found = remote.app(app)
    if remote.as_json:
        remote.print_json(found)
        return
    labels = ", ".join(f"{name}={value}" for name, value in found["labels"].items())
    name = written(found["namespace"], found["name"])
    remote.out.print(
        show.facts(
            [
                ("app", name),
                ("id", found["id"]),
                ("namespace", found["namespace"]),
                ("subdomain", found["subdomain"]),
                ("description", found["description"] or ""),
                ("labels", labels),
                ("created", f"{found['created_at']}, {show.age(found['created_at'])} ago"),
            ]
        )
    )
    newest = remote.client.newest(found["id"])
    if newest:
        remote.out.print()
        remote.out.print(show.deployments((f"{name}@{each['version']}", each) for each in newest))


@apps.command(epilog="Example: platformd apps delete team/shop --yes")
@app_argument()
@click.option("--yes", is_flag=True, help="Do not ask.")
@client_command
def delete(remote: Remote, app: str, yes: bool) -> None:
    """Delete an app: its deployments end, their output, addresses and variables go."""
    found = remote.app(app)
    name = written(found["namespace"], found["name"])
    if not yes:
        click.confirm(f"Delete {name} with all its deployments?", abort=True, err=True)
    done = remote.client.delete_app(found["id"])
    remote.say(f"deleted {name}" if done else f"{name} is being deleted")
