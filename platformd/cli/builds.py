"""`platformd builds` and `platformd source`: what is built of an app, and from where. Single-threaded."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from platformd.cli import show
from platformd.cli.names import app_argument
from platformd.cli.remote import Remote, client_command, end
from platformd.client import Build, BuildLogEntry, NotNamed, Problem

_SECRETS = ("webhook_secret", "access_token", "ssh_key")


@click.group()
def builds() -> None:
    """List, start, follow and cancel builds."""


@builds.command("list", epilog="Example: platformd builds list shop")
@app_argument(required=False)
@client_command
def list_(remote: Remote, app: str | None) -> None:
    """List builds, newest first, of APP or of all apps."""
    found = list(remote.client.builds(None if app is None else remote.app(app)["id"]))
    if remote.as_json:
        remote.print_json(found)
        return
    rows = show.table("build", "state", "environment", "commit", "for", "age")
    for each in found:
        commit = each["commit"]["sha"][:8] if each["commit"] else each["ref"] or each["branch"] or ""
        reason = show.reason(each["reason"])
        rows.add_row(
            each["id"][:8],
            show.state(each["state"]),
            each["environment_slug"],
            commit,
            reason or each["origin"],
            show.age(each["created_at"]),
        )
    remote.out.print(rows)


@builds.command("start", epilog="Example: platformd builds start shop --ref v1.2")
@app_argument()
@click.option("--ref", metavar="REF", help="A commit, tag or branch. [default: the source's branch]")
@click.option(
    "--tar",
    "archive",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Build the tree in this tar archive (- is stdin) instead of the repository.",
)
@click.option("--environment", metavar="SLUG", help="[default: development]")
@click.option("--wait/--no-wait", default=True, help="Follow its log. [default: --wait]")
@client_command
def start(
    remote: Remote, app: str, ref: str | None, archive: Path | None, environment: str | None, wait: bool
) -> None:
    """Build APP from its source. What it makes fills in a deployment that waits for a build."""
    if ref is not None and archive is not None:
        raise click.UsageError("give one of --ref and --tar")
    app_id = remote.app(app)["id"]
    if archive is None:
        build = remote.client.build(app_id, ref, environment)
    else:
        with _on_disk(archive) as path:
            build = remote.client.build_tree(app_id, path, environment)
    remote.say(f"build {build['id']} is queued")
    if wait:
        build = followed(remote, build)
    if remote.as_json:
        remote.print_json(build)
    if build["state"] in ("failed", "cancelled"):
        end(f"build {build['state']}: {show.reason(build['reason'])}")


@builds.command("show", epilog="Example: platformd builds show 3f2a")
@click.argument("build")
@client_command
def show_(remote: Remote, build: str) -> None:
    """Show one build. BUILD is an id or the beginning of one."""
    found = _named(remote, build)
    if remote.as_json:
        remote.print_json(found)
        return
    commit = found["commit"]
    facts: list[tuple[str, Any]] = [
        ("build", found["id"]),
        ("state", show.state(found["state"])),
        ("environment", found["environment_slug"]),
        ("commit", f"{commit['sha'][:8]} {commit['message'].partition(chr(10))[0]}" if commit else "-"),
        ("made", found["artifact_id"] or found["image"] or "-"),
        ("deployment", found["deployment_id"] or "-"),
        ("reason", show.reason(found["reason"]) or "-"),
    ]
    remote.out.print(show.facts(facts))


@builds.command("logs", epilog="Example: platformd builds logs 3f2a -f")
@click.argument("build")
@click.option("-f", "--follow", is_flag=True, help="Go on until the build is done, or Ctrl-C.")
@client_command
def logs(remote: Remote, build: str, follow: bool) -> None:
    """Print a build's log. BUILD is an id or the beginning of one."""
    found = _named(remote, build)
    if not follow:
        stored = remote.client.build_log(found["id"])
        if remote.as_json:
            remote.print_json(stored)
        else:
            for entry in stored:
                _print(remote, entry)
        return
    try:
        for entry in remote.client.follow_build(found["id"], on_gap=remote.gap):
            _print(remote, entry)
    except KeyboardInterrupt:
        return


@builds.command("cancel", epilog="Example: platformd builds cancel 3f2a")
@click.argument("build")
@client_command
def cancel(remote: Remote, build: str) -> None:
    """End a build. BUILD is an id or the beginning of one."""
    changed = remote.client.cancel_build(_named(remote, build)["id"])
    if remote.as_json:
        remote.print_json(changed)
    else:
        remote.say(f"build {changed['id']} is cancelled")


@click.group()
def source() -> None:
    """Say where an app's code lies and how it is built."""


@source.command("show", epilog="Example: platformd source show shop")
@app_argument()
@client_command
def show_source(remote: Remote, app: str) -> None:
    """Show the source of APP. Secrets are shown as ***."""
    remote.print_json(remote.client.source(remote.app(app)["id"]))


@source.command(
    "set", epilog="Example: platformd source set shop --repository myorg/shop --command make --artifact shop"
)
@app_argument()
@click.option("--repository", required=True, metavar="OWNER/NAME", help="On GitHub.")
@click.option("--branch", metavar="BRANCH", help="[default: main]")
@click.option("--root-dir", metavar="DIR", help="The folder within it that is built.")
@click.option("--command", metavar="COMMAND", help="What builds it; leaves the executable of --artifact.")
@click.option("--artifact", "artifact_path", metavar="PATH", help="The executable that --command leaves.")
@click.option("--dockerfile", metavar="PATH", help="The engine builds it, instead of a command.")
@click.option("--environment", metavar="SLUG", help="What pushes are deployed to. [default: development]")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME=FILE",
    help="webhook_secret, access_token or ssh_key, from a file (- is stdin); those left out stay.",
)
@client_command
def set_source(
    remote: Remote,
    app: str,
    command: str | None,
    artifact_path: str | None,
    dockerfile: str | None,
    secrets: tuple[str, ...],
    **given: str | None,
) -> None:
    """Set the source of APP."""
    if (command is None) == (dockerfile is None):
        raise click.UsageError("give one of --command and --dockerfile")
    app_id = remote.app(app)["id"]
    build = {"kind": "command", "command": command, "artifact_path": artifact_path}
    if dockerfile is not None:
        build = {"kind": "dockerfile", "dockerfile": dockerfile}
    body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    body |= {"build": {name: value for name, value in build.items() if value is not None}}
    made = remote.client.set_source(app_id, _kept(remote, app_id) | body | dict(map(_secret, secrets)))
    if remote.as_json:
        remote.print_json(made)
    else:
        remote.say(f"{app} is built from {made['repository']}, branch {made['branch']}")


def followed(remote: Remote, build: Build) -> Build:
    """The build once nothing of it runs any more; its log is said meanwhile."""
    for entry in remote.client.follow_build(build["id"], on_gap=remote.gap):
        remote.say(entry["message"])
    return remote.client.build_of(build["id"])


def _kept(remote: Remote, app_id: str) -> dict[str, str]:
    """The secrets there are, as what keeps them."""
    try:
        present = remote.client.source(app_id)
    except Problem as problem:
        if problem.code != "SOURCE_NOT_FOUND":
            raise
        return {}
    return {name: "***" for name in _SECRETS if present[name]}  # type: ignore[literal-required]


def _secret(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not equals or name not in _SECRETS:
        raise click.BadParameter(f"{text!r} is no NAME=FILE of {', '.join(_SECRETS)}", param_hint="--secret")
    try:
        content = sys.stdin.read() if path == "-" else Path(path).read_text()
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="--secret") from None
    return name, content.strip()


@contextlib.contextmanager
def _on_disk(archive: Path) -> Iterator[Path]:
    """The archive, or what stdin has, in a file that says how long it is."""
    if str(archive) != "-":
        yield archive
        return
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield Path(file.name)


def _named(remote: Remote, prefix: str) -> Build:
    found = [each for each in remote.client.builds() if each["id"].startswith(prefix.lower())]
    if len(found) != 1:
        raise NotNamed(f"{len(found) or 'no'} builds have ids that begin with {prefix!r}")
    return found[0]


def _print(remote: Remote, entry: BuildLogEntry) -> None:
    line = json.dumps(entry, ensure_ascii=False) if remote.as_json else entry["message"]
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
