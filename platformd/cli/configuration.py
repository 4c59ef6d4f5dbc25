"""`platformd env` and `platformd domains`: variables and custom domains of an app."""

from __future__ import annotations

import sys

import click

from platformd.cli import show
from platformd.cli.names import app_argument
from platformd.cli.remote import Remote, client_command, end

_APP = app_argument()
_ENVIRONMENT = click.option(
    "--environment", metavar="SLUG", help="Of this environment [default: of the app]."
)


@click.group()
def env() -> None:
    """Set, get and remove variables. What runs keeps its values; new deployments see the change."""


@env.command("set", epilog="Example: platformd env set shop LOG_LEVEL=info --environment production")
@_APP
@click.argument("values", nargs=-1, required=True, metavar="NAME=VALUE…")
@_ENVIRONMENT
@click.option(
    "--secret", is_flag=True, help="Nobody can read them back. NAME alone reads the value from stdin."
)
@client_command
def set_(remote: Remote, app: str, values: tuple[str, ...], environment: str | None, secret: bool) -> None:
    """Set variables of APP."""
    change: dict[str, object] = {}
    for text in values:
        name, assigned, value = text.partition("=")
        if not assigned:
            if len(values) > 1 or not secret:
                raise click.BadParameter(f"{text!r} is no NAME=VALUE", param_hint="VALUES")
            value = (
                click.prompt(name, hide_input=True)
                if sys.stdin.isatty()
                else sys.stdin.read().removesuffix("\n")
            )
        change[name] = {"value": value, "secret": True} if secret else value
    _changed(remote, app, environment, change)


@env.command("get", epilog="Example: platformd env get shop")
@_APP
@click.argument("name", required=False)
@_ENVIRONMENT
@client_command
def get(remote: Remote, app: str, name: str | None, environment: str | None) -> None:
    """Show the variables of APP, or the value of one. Secrets are shown as ***."""
    found = remote.client.variables(remote.app(app)["id"], environment)
    if name is not None and name not in found:
        end(f"{app} has no variable {name}" + (f" in {environment}" if environment else ""))
    chosen = found if name is None else {name: found[name]}
    if remote.as_json:
        remote.print_json(chosen)
        return
    for each, value in chosen.items():
        shown = value if isinstance(value, str) else value["value"]
        click.echo(shown if name is not None else f"{each}={shown}")


@env.command("unset", epilog="Example: platformd env unset shop LOG_LEVEL")
@_APP
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@_ENVIRONMENT
@client_command
def unset(remote: Remote, app: str, names: tuple[str, ...], environment: str | None) -> None:
    """Remove variables of APP."""
    _changed(remote, app, environment, dict.fromkeys(names))


def _changed(remote: Remote, app: str, environment: str | None, change: dict[str, object]) -> None:
    answer = remote.client.change_variables(remote.app(app)["id"], change, environment)
    if remote.as_json:
        remote.print_json(answer)
        return
    old = ", ".join(f"{each['environment_slug']} version {each['version']}" for each in answer["deployments"])
    remote.say(f"new deployments see it; still on old values: {old}" if old else "new deployments see it")


@click.group()
def domains() -> None:
    """Add, list and remove hostnames of your own."""


@domains.command(epilog="Example: platformd domains add shop shop.example.com --environment production")
@_APP
@click.argument("domain")
@click.option("--environment", metavar="SLUG", default="production", show_default=True)
@client_command
def add(remote: Remote, app: str, domain: str, environment: str) -> None:
    """Lead DOMAIN to an environment of APP."""
    added = remote.client.add_domain(remote.app(app)["id"], domain, environment)
    if remote.as_json:
        remote.print_json(added)
        return
    remote.say(f"{added['domain']} leads to {app} in {environment}; point its DNS at the gateway")


@domains.command("list", epilog="Example: platformd domains list shop")
@_APP
@client_command
def list_(remote: Remote, app: str) -> None:
    """List the domains of APP."""
    found = remote.client.domains(remote.app(app)["id"])
    if remote.as_json:
        remote.print_json(found)
        return
    shown = show.table("DOMAIN", "ENVIRONMENT", "AGE")
    for domain in found:
        shown.add_row(domain["domain"], domain["environment"], show.age(domain["created_at"]))
    remote.out.print(shown)


@domains.command(epilog="Example: platformd domains remove shop shop.example.com")
@_APP
@click.argument("domain")
@client_command
def remove(remote: Remote, app: str, domain: str) -> None:
    """Let DOMAIN lead nowhere. It may also be given by its id."""
    app_id = remote.app(app)["id"]
    wanted = domain.lower().removesuffix(".")
    for each in remote.client.domains(app_id):
        if wanted in (each["domain"], each["id"]):
            remote.client.remove_domain(app_id, each["id"])
            remote.say(f"{each['domain']} leads nowhere now")
            return
    end(f"{app} has no domain {domain}; `platformd domains list {app}` shows those it has")
