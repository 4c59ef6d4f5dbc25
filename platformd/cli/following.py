"""Watching a new deployment until it runs or fails, and saying what happens. Called by `deploy` and `promote`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from platformd import clock
from platformd.cli import show
from platformd.cli.remote import Remote, end
from platformd.client import ClientError, Deployment, Event

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
    """The deployment once it no longer is pending; what happens on the way is said."""
    started = clock.monotonic()
    with _Story(remote) as story:
        for event in remote.client.follow_events(deployment_id=deployment["id"], after=0):
            if event["data"].get("status", "pending") != "pending":
                break
            story.tell(event)
    deployment = remote.client.deployment(deployment["id"])
    if deployment["status"] == "running":
        took = clock.monotonic() - started
        remote.say(f"{deployment['phase']} after {show.duration(took)}", style="green")
    return deployment


class _Story:
    """Says each phase and pull once; on a terminal, something moves meanwhile, and pulls show how far they are."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._last = ""
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[size]}"))
        hidden = remote.as_json or not remote.err.is_terminal
        self._bars = Progress(*columns, console=remote.err, transient=True, disable=hidden)
        self._pulls: dict[str, TaskID] = {}

    def __enter__(self) -> _Story:
        self._bars.start()
        self._bars.add_task("waiting for it to be ready", total=None, size="")
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, event: Event) -> None:
        data = event["data"]
        if event["type"].startswith("image."):
            self._pull(event["type"], data)
        elif "status" in data:
            self._say(_told(data))

    def _pull(self, type: str, data: Mapping[str, Any]) -> None:
        image = str(data["image"])
        if image not in self._pulls:
            self._pulls[image] = self._bars.add_task(f"pulling {image}", total=None, size="")
            self._say(f"pulling {image}")
        if total := data.get("total_bytes"):
            here = data["bytes"]
            size = f"{show.size(here)} of {show.size(total)}"
            self._bars.update(self._pulls[image], completed=here, total=total, size=size)
        if type == "image.pulled":
            self._bars.update(self._pulls.pop(image), visible=False)
            self._say(f"pulled {image} in {show.duration(float(data['seconds']))}")

    def _say(self, text: str) -> None:
        if text != self._last:
            self._remote.say(text)
        self._last = text


def _told(data: Mapping[str, Any]) -> str:
    count = f", {data['ready']} of {data['total']} ready" if data["total"] > 1 else ""
    why = show.reason(data["reason"])
    again = data["next_try_in_secs"]
    told = f"{data['phase']}{count}" + (f": {why}" if why else "")
    return told if again is None else f"{told}, tried again in {show.duration(again)}"


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
