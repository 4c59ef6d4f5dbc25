"""`platformd deploy` and `promote`: bring a version into being and follow it until it runs or fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from platformd import ids
from platformd.cli import show
from platformd.cli.following import conclude
from platformd.cli.remote import Remote, client_command
from platformd.client import App, Artifact, Problem, is_missing_app

_WAIT = click.option(
    "--wait/--no-wait", default=True, help="Follow it until it is ready or has failed. [default: --wait]"
)


@click.command(epilog="Example: platformd deploy shop --binary ./shop --environment production -e LOG=debug")
@click.argument("app")
@click.option(
    "--binary",
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    metavar="FILE",
    help="The executable: ELF, or a script that begins with #!.",
)
@click.option("--environment", metavar="SLUG", help="[default: development]")
@click.option("--replicas", type=click.IntRange(0, 100), metavar="N", help="[default: 1]")
@click.option("--port", type=click.IntRange(1, 65535), help="Listen on exactly this port.")
@click.option("--health", metavar="PATH", help="Ready once this path answers 2xx.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="A variable; may be repeated.")
@_WAIT
@client_command
def deploy(
    remote: Remote,
    app: str,
    binary: Path,
    environment: str | None,
    replicas: int | None,
    port: int | None,
    health: str | None,
    env: tuple[str, ...],
    wait: bool,
) -> None:
    """Deploy an executable as an app's next version.

    APP is a name, namespace/name, or an id; one that is not there is made. Ends with the deployment's URL.
    """
    variables = dict(_variable(text) for text in env)
    target = _app(remote, app)
    artifact = _upload(remote, binary)
    body: dict[str, Any] = {"artifact_id": artifact["id"]}
    networking = {"port": port, "health_path": health}
    given = {
        "environment": environment,
        "replicas": replicas,
        "networking": {name: value for name, value in networking.items() if value is not None} or None,
        "env": variables or None,
    }
    body |= {name: value for name, value in given.items() if value is not None}
    conclude(remote, remote.client.deploy(target["id"], body), wait)


_ENVIRONMENT = click.option("--environment", default="production", show_default=True, metavar="SLUG")


@click.command(epilog="Example: platformd promote shop@3 --to production")
@click.argument("deployment")
@click.option("--to", "environment", default="production", show_default=True, metavar="SLUG")
@_WAIT
@client_command
def promote(remote: Remote, deployment: str, environment: str, wait: bool) -> None:
    """Deploy the same once more, to another environment.

    DEPLOYMENT is an id, the beginning of one, or app@version; it stays as it is.
    """
    source = remote.client.deployment(deployment)
    conclude(remote, remote.client.promote(source["id"], environment), wait)


@click.command(epilog="Example: platformd rollback shop --environment production")
@click.argument("app")
@_ENVIRONMENT
@_WAIT
@client_command
def rollback(remote: Remote, app: str, environment: str, wait: bool) -> None:
    """Deploy the version before once more, where an address leads to a bad one.

    APP is a name, namespace/name, or an id. Again: one further back. Webhooks wait until `platformd release`.
    """
    conclude(remote, remote.client.rollback(app, environment), wait)


@click.command(epilog="Example: platformd release shop --environment production")
@click.argument("app")
@_ENVIRONMENT
@client_command
def release(remote: Remote, app: str, environment: str) -> None:
    """Let webhooks deploy again after a rollback.

    APP is a name, namespace/name, or an id.
    """
    released = remote.client.release(app, environment)
    if remote.as_json:
        remote.print_json({"environment_slug": environment, "released": released})
    else:
        remote.say(f"{environment} is released" if released else f"{environment} was not held")


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is no NAME=VALUE", param_hint="-e")
    return name, value


def _app(remote: Remote, name: str) -> App:
    try:
        return remote.client.app(name)
    except Problem as error:
        if not is_missing_app(error) or ids.is_id(name):
            raise
    namespace, short = remote.client.key_of(name)
    app = remote.client.create_app(short, namespace)
    remote.say(f"made the app {name}, which was not there")
    return app


def _upload(remote: Remote, binary: Path) -> Artifact:
    if remote.as_json or not remote.err.is_terminal:
        artifact = remote.client.upload(binary)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=remote.err, transient=True) as bar:
            sending = bar.add_task(f"uploading {binary.name}", total=None)
            artifact = remote.client.upload(
                binary, progress=lambda sent, total: bar.update(sending, completed=sent, total=total)
            )
    remote.say(f"uploaded {binary.name}, {show.size(artifact['size'])}")
    return artifact
