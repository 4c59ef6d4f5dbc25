"""`platformd ps`, `status`, and the orders to one deployment: `scale`, `wake`, `sleep`, `restart`,
`cancel`."""

from __future__ import annotations

from collections.abc import Callable

import click
from rich.text import Text

from platformd.cli import show
from platformd.cli.names import WHICH, app_argument, deployment_argument
from platformd.cli.remote import Remote, client_command
from platformd.client import Client, Deployment

_FINISHED = ("succeeded", "failed", "cancelled")
_FEW = 20


@click.command(epilog="Example: platformd ps shop --all")
@app_argument(required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="Finished ones, too.")
@client_command
def ps(remote: Remote, app: str | None, everything: bool) -> None:
    """List deployments, newest first.

    Of APP (a name, namespace/name, or an id), or all. A star marks the one that its environment's address leads to.
    """
    app_id = None if app is None else remote.app(app)["id"]
    found = [
        each for each in remote.client.deployments(app_id) if everything or each["status"] not in _FINISHED
    ]
    if remote.as_json:
        remote.print_json(found)
        return
    if not found:
        remote.say("no deployments; `platformd deploy APP --binary FILE` makes one")
        return
    if len({each["app_id"] for each in found}) > _FEW:
        remote.learn_app_names()
    remote.out.print(show.deployments((remote.name_of(each), each) for each in found))


@click.command(epilog="Example: platformd status shop@3")
@deployment_argument
@client_command
def status(remote: Remote, deployment: str) -> None:
    """Show a deployment and its tasks.

    DEPLOYMENT is an id, the beginning of one, or app@version.
    """
    found = remote.deployment(deployment)
    if remote.as_json:
        remote.print_json(found)
        return
    remote.out.print(show.facts(_facts(remote, found)))
    tasks = list(remote.client.tasks(found["id"]))
    live = [task for task in tasks if task["state"] not in ("stopped", "failed")]
    shown = live or tasks[:1]
    if shown:
        remote.out.print()
        remote.out.print(show.tasks(shown))


def _facts(remote: Remote, found: Deployment) -> list[tuple[str, str | Text]]:
    spec = found["spec"]
    runs = spec["image"] or f"artifact {spec['artifact_id']}"
    leads = ", its address leads here" if found["current"] else ""
    return [
        ("deployment", remote.name_of(found)),
        ("id", found["id"]),
        ("status", show.state(found["status"])),
        ("phase", show.state(found["phase"])),
        ("reason", show.reason(found["reason"])),
        ("url", found["preview_url"]),
        ("environment", found["environment_slug"] + leads),
        ("runs", runs),
        ("tasks", f"{found['tasks_ready']} of {found['tasks_total']} ready"),
        ("awake because", ", ".join(found["awake_because"])),
        ("kept awake until", found["keep_awake_until"] or ""),
        ("sleeps at", found["idle_deadline"] or ""),
        ("superseded by", found["superseded_by"] or ""),
        ("created", f"{found['created_at']}, {show.age(found['created_at'])} ago"),
    ]


@click.command(epilog="Example: platformd scale shop@3 4")
@deployment_argument
@click.argument("replicas", type=click.IntRange(0, 100))
@client_command
def scale(remote: Remote, deployment: str, replicas: int) -> None:
    """Change how many tasks a deployment runs.

    DEPLOYMENT is an id, the beginning of one, or app@version. With 0 REPLICAS it sleeps until the next request.
    """
    found = remote.deployment(deployment)
    _report(remote, remote.client.scale(found["id"], replicas))


@click.command("keep-awake", epilog="Example: platformd keep-awake shop@3 600")
@deployment_argument
@click.argument("seconds", type=click.FloatRange(0, 2_592_000))
@client_command
def keep_awake(remote: Remote, deployment: str, seconds: float) -> None:
    """Keep a deployment awake for SECONDS at least, whatever its idle timeout; 0 ends that.

    DEPLOYMENT is an id, the beginning of one, or app@version.
    """
    found = remote.deployment(deployment)
    _report(remote, remote.client.keep_awake(found["id"], seconds))


def _order(name: str, help: str, give: Callable[[Client, str], Deployment]) -> click.Command:
    @click.command(name, help=f"{help}\n\n{WHICH}", epilog=f"Example: platformd {name} shop@3")
    @deployment_argument
    @client_command
    def command(remote: Remote, deployment: str) -> None:
        _report(remote, give(remote.client, remote.deployment(deployment)["id"]))

    return command


wake = _order("wake", "Start a sleeping deployment's tasks, as a request would.", Client.wake)
sleep = _order("sleep", "End a deployment's tasks until the next request.", Client.sleep)
restart = _order("restart", "Replace a deployment's tasks one at a time.", Client.restart)
cancel = _order("cancel", "End a deployment for good.", Client.cancel)


def _report(remote: Remote, changed: Deployment) -> None:
    if remote.as_json:
        remote.print_json(changed)
        return
    ready, wanted = changed["tasks_ready"], changed["tasks_total"]
    phase = changed["status"] if changed["status"] == "cancelled" else changed["phase"]
    remote.out.print(f"{remote.name_of(changed)} is {phase}, {ready} of {wanted} tasks ready", soft_wrap=True)
