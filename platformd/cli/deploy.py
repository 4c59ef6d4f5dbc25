"""`platformd deploy`, `promote`, `rollback`, `release`: make a version, follow it until it runs or fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from platformd import ids
from platformd.cli import project, show
from platformd.cli.builds import followed
from platformd.cli.following import conclude
from platformd.cli.names import app_argument, deployment_argument
from platformd.cli.remote import Remote, client_command
from platformd.client import App, Artifact, Problem, is_missing_app, key_of

_WAIT = click.option(
    "--wait/--no-wait", default=True, help="Follow it until it is ready or has failed. [default: --wait]"
)


@click.command(epilog="Example: platformd deploy shop --binary ./shop --environment production -e LOG=debug")
@app_argument(required=False)
@click.option("--image", metavar="IMAGE", help="A Docker image, such as nginx:1.27.")
@click.option(
    "--binary",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    metavar="FILE",
    help="An executable: ELF, or a script that begins with #!.",
)
@click.option("--artifact", metavar="ID", help="An executable that the server has.")
@click.option("--git", metavar="REF", help="A commit, tag or branch of the app's source, built first.")
@click.option("--environment", metavar="SLUG", help="[default: development]")
@click.option("--replicas", type=click.IntRange(0, 100), metavar="N", help="[default: 1]")
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="Listen on exactly this port.")
@click.option("--health", metavar="PATH", help="Ready once this path answers 2xx.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="A variable; may be repeated.")
@_WAIT
@client_command
def deploy(remote: Remote, app: str | None, wait: bool, git: str | None, **given: Any) -> None:
    """Deploy an executable or an image as an app's next version, and end with its URL.

    APP is a name, namespace/name, or an id; one that is not there is made. What is not given here comes from
    platformd.yaml in the working directory, where there is one.
    """
    variables = dict(_variable(text) for text in given.pop("env"))
    try:
        found = project.load(Path())
    except project.ProjectError as error:
        raise click.UsageError(str(error)) from None
    name = app or found.app
    if name is None:
        raise click.UsageError(f"name the app, here or as `name` in {project.FILE}")
    things = (given.pop("image"), given.pop("binary"), given.pop("artifact"))
    if git is not None:
        if any(thing is not None for thing in things):
            raise click.UsageError("give one of --image, --binary, --artifact and --git")
        _from_git(remote, name, git, _body(found.body, variables=variables, **given), wait)
        return
    source = _Source.chosen(found, *things)
    body = _body(found.body, variables=variables, **given)
    target = _app(remote, name)
    conclude(remote, remote.client.deploy(target["id"], body | source.reach(remote)), wait)


def _from_git(remote: Remote, name: str, ref: str, body: Mapping[str, Any], wait: bool) -> None:
    """A deployment that waits for the build it is filled in by."""
    app_id = remote.app(name)["id"]
    source = remote.client.source(app_id)
    made = remote.client.deploy(app_id, {**body, "process_type": source["process_type"]})
    build = remote.client.build(app_id, ref, deployment_id=made["id"])
    remote.say(f"building {ref} of {source['repository']}, build {build['id']}")
    if wait:
        followed(remote, build)
    conclude(remote, made, wait)


@dataclass(frozen=True, slots=True)
class _Source:
    """What is deployed: an image, a file to upload, or an artifact."""

    image: str | None = None
    binary: Path | None = None
    artifact: str | None = None
    process_type: str | None = None

    @classmethod
    def chosen(
        cls, found: project.Project, image: str | None, binary: Path | None, artifact: str | None
    ) -> _Source:
        """The one that was given, else the project's."""
        count = sum(each is not None for each in (image, binary, artifact))
        if count > 1:
            raise click.UsageError("give one of --image, --binary and --artifact")
        if count:
            return cls(image, binary, artifact)
        process_type = found.body.get("process_type")
        if found.body.get("image"):
            return cls(image=found.body["image"], process_type=process_type)
        if found.artifact_path is None:
            raise click.UsageError("say what to deploy: --image IMAGE, --binary FILE or --artifact ID")
        if not found.artifact_path.is_file():
            raise click.UsageError(
                f"{found.artifact_path} is not there; build it, or name another with --binary"
            )
        return cls(binary=found.artifact_path, process_type=process_type)

    def reach(self, remote: Remote) -> dict[str, Any]:
        """Its keys in the API's body; a file is uploaded."""
        if self.image is not None:
            return {"image": self.image, "process_type": self.process_type or "docker"}
        artifact = self.artifact or _upload(remote, self.binary or Path())["id"]
        return {"artifact_id": artifact, "process_type": self.process_type or "tish"}


def _body(
    defaults: Mapping[str, Any],
    *,
    environment: str | None,
    replicas: int | None,
    port: int | None,
    health: str | None,
    variables: Mapping[str, str],
) -> dict[str, Any]:
    """What the project says, with what was given over it; without the source."""
    body = {key: value for key, value in defaults.items() if key not in ("image", "process_type")}
    networking = dict(body.get("networking") or {})
    if port is not None:
        networking["port"] = port
    if health is not None:
        networking["health_check"] = {**(networking.get("health_check") or {}), "path": health}
    given = {
        "environment": environment,
        "replicas": replicas,
        "networking": networking or None,
        "env": {**(body.get("env") or {}), **variables} or None,
    }
    return body | {name: value for name, value in given.items() if value is not None}


_ENVIRONMENT = click.option("--environment", default="production", show_default=True, metavar="SLUG")


@click.command(epilog="Example: platformd promote shop@3 --to production")
@deployment_argument
@click.option("--to", "environment", default="production", show_default=True, metavar="SLUG")
@_WAIT
@client_command
def promote(remote: Remote, deployment: str, environment: str, wait: bool) -> None:
    """Deploy the same once more, to another environment.

    DEPLOYMENT is an id, the beginning of one, or app@version; it stays as it is.
    """
    source = remote.deployment(deployment)
    conclude(remote, remote.client.promote(source["id"], environment), wait)


@click.command(epilog="Example: platformd rollback shop --environment production")
@app_argument()
@_ENVIRONMENT
@_WAIT
@client_command
def rollback(remote: Remote, app: str, environment: str, wait: bool) -> None:
    """Deploy the version before once more, where an address leads to a bad one.

    APP is a name, namespace/name, or an id. Again: one further back. Webhooks wait until `platformd release`.
    """
    conclude(remote, remote.client.rollback(remote.app(app)["id"], environment), wait)


@click.command(epilog="Example: platformd release shop --environment production")
@app_argument()
@_ENVIRONMENT
@client_command
def release(remote: Remote, app: str, environment: str) -> None:
    """Let webhooks deploy again after a rollback.

    APP is a name, namespace/name, or an id.
    """
    released = remote.client.release(remote.app(app)["id"], environment)
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
    namespace, short = key_of(name)
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
