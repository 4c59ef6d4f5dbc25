"""Watching a new deployment until it runs or fails, and saying what happens. Called by `deploy` and `promote`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from platformd import clock
from platformd.cli import show
from platformd.cli.remote import Remote, end
from platformd.client import ClientError, Deployment

LAST_LINES = 15


def conclude(remote: Remote, deployment: Deployment, wait: bool) -> None:
    """Announces a deployment that was just made, waits if told to, ends with its URL or with what went wrong."""
    name = remote.name_of(deployment)
    remote.say(f"created {name} in {deployment['environment_slug']}, id {deployment['id']}")
    if wait:
        deployment = settled(remote, deployment)
    if remote.as_json:
        remote.print_json(deployment)
    if deployment["status"] in ("failed", "cancelled"):
        _show_last_lines(remote, deployment)
        why = show.reason(deployment["reason"])
        end(f"{name} {deployment['status']}" + (f": {why}" if why else ""))
    if not remote.as_json:
        print(deployment["preview_url"])


def settled(remote: Remote, deployment: Deployment) -> Deployment:
    """The deployment once it no longer is pending; each of its phases is said."""
    started = clock.monotonic()
    said = ""
    with _waiting(remote):
        for seen in remote.client.changes(deployment["id"]):
            deployment = seen
            if seen["status"] != "pending":
                break
            told = _told(seen)
            if told != said:
                remote.say(told)
                said = told
    if deployment["status"] == "running":
        took = clock.monotonic() - started
        remote.say(f"{deployment['phase']} after {show.duration(took)}", style="green")
    return deployment


def _told(deployment: Deployment) -> str:
    phase, wanted = deployment["phase"], deployment["tasks_total"]
    count = f", {deployment['tasks_ready']} of {wanted} ready" if wanted > 1 else ""
    why = show.reason(deployment["reason"])
    return f"{phase}{count}" + (f": {why}" if why else "")


@contextmanager
def _waiting(remote: Remote) -> Iterator[None]:
    """On a terminal, something that moves."""
    moving = remote.err.is_terminal and not remote.as_json
    with remote.err.status("waiting for it to be ready") if moving else contextlib.nullcontext():
        yield


def _show_last_lines(remote: Remote, deployment: Deployment) -> None:
    lines: list[str] = []
    with contextlib.suppress(ClientError):  # then the reason's own lines have to do
        entries = remote.client.logs(deployment["id"], tail=LAST_LINES)
        lines = [show.log_line(entry, remote.err.is_terminal) for entry in entries]
    reason = deployment["reason"]
    lines = lines or list(reason.get("last_lines", ()) if reason else ())
    if not lines or remote.as_json:
        return
    remote.say("its last lines:")
    for line in lines:
        remote.err.file.write(f"  {line}\n")
