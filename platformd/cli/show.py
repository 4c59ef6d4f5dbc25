"""Objects of the API as people read them: tables, colours, ages, log lines. Called by the client commands; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from platformd import clock
from platformd.client import Deployment, Event, LogEntry, Reason, Task

SHORT_ID = 8
STYLES = {
    "running": "green",
    "ready": "green",
    "asleep": "cyan",
    "frozen": "cyan",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "dim",
    "stopped": "dim",
    "done": "dim",
    "pending": "yellow",
    "starting": "yellow",
    "waking": "yellow",
    "updating": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "backing_off": "red",
    "quarantined": "bold red",
}
# What an event's type and subject say already, or nobody asks.
_IMPLIED = frozenset(
    ("status", "phase", "version", "before", "state", "slot", "generation", "restarts", "ready", "total")
)
_LOG_STYLES = {"stderr": "31", "system": "2"}  # as escape sequences: log lines are many
# Kept on a terminal: colours. Replaced: whatever else could move its cursor, or worse.
_CONTROLS = re.compile(r"(\x1b\[[0-9;:]*m)|\x1b|[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def table(*columns: str) -> Table:
    """A table as plain as `ls`; cells are not cut."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column != "URL")
    return made


def state(word: str) -> Text:
    return Text(word, style=STYLES.get(word, ""))


def age(timestamp: str | None) -> str:
    """How long ago, in the one unit that matters."""
    if timestamp is None:
        return "-"
    seconds = max(0, int((clock.now() - datetime.fromisoformat(timestamp)).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def duration(seconds: float) -> str:
    """A measured time."""
    if seconds >= 10:
        return f"{seconds:.0f} s"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def size(count: float | None) -> str:
    """Bytes."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def reason(found: Reason | None) -> str:
    return "" if found is None else f"{found['message']} ({found['code']})"


def deployments(found: Iterable[tuple[str, Deployment]]) -> Table:
    """Names and deployments, one a row; the star marks those that their environment's address leads to."""
    shown = table("DEPLOYMENT", "ID", "ENVIRONMENT", "PHASE", "READY", "AGE", "URL")
    for name, each in found:
        shown.add_row(
            name,
            each["id"][:SHORT_ID],
            each["environment_slug"] + ("*" if each["current"] else ""),
            state(each["status"] if each["phase"] == "done" else each["phase"]),
            f"{each['tasks_ready']}/{each['tasks_total']}",
            age(each["created_at"]),
            each["preview_url"],
        )
    return shown


def facts(rows: Sequence[tuple[str, str | Text]]) -> Table:
    """Names and values; rows without a value are left out."""
    shown = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in rows:
        if value:
            shown.add_row(name, value)
    return shown


def tasks(found: Iterable[Task]) -> Table:
    shown = table("TASK", "STATE", "PID", "ADDRESS", "RESTARTS", "CPU", "MEMORY", "AGE", "ENDED")
    for each in found:
        shown.add_row(
            each["id"][:SHORT_ID],
            state("frozen" if each["frozen"] else each["state"]),
            str(each["pid"] or "-"),
            each["address"] or "-",
            str(each["restarts"]),
            "-" if each["cpu_percent"] is None else f"{each['cpu_percent']:.0f}%",
            size(each["memory_bytes"]),
            age(each["started_at"] or each["created_at"]),
            _ending(each),
        )
    return shown


def _ending(task: Task) -> str:
    if task["oom_killed"]:
        return "out of memory"
    if task["signal"] is not None:
        return str(task["signal"])
    return "-" if task["exit_code"] is None else f"exit {task['exit_code']}"


def log_line(entry: LogEntry, terminal: bool) -> str:
    """`12:00:01.123 a1b2c3d4 message`; a terminal gets colours, and no control characters of the app's."""
    at = entry["timestamp"][11:23]
    source = "system  " if entry["stream"] == "system" else entry["task_id"][:SHORT_ID]
    message = entry["message"]
    if "truncated" in entry:
        message += f" [{entry['truncated']} bytes dropped]"
    if not terminal:
        return f"{at} {source} {message}"
    style = _LOG_STYLES.get(entry["stream"])
    shown = _harmless(message)
    painted = f"\x1b[{style}m{shown}" if style else shown
    return f"\x1b[2m{at} {source}\x1b[0m {painted}" + ("\x1b[0m" if "\x1b" in painted else "")


def event_line(event: Event, subject: str, terminal: bool) -> str:
    """`12:00:01.123 shop@3 deployment.ready: 1 of 1 ready`; a task's are `shop@3/a1b2c3d4`."""
    at, about = event["at"][11:23], happened(event)
    task = f"/{event['task_id'][:SHORT_ID]}" if event["task_id"] else ""
    told = f"{subject}{task} {event['type']}" + (f": {about}" if about else "")
    return f"\x1b[2m{at}\x1b[0m {_harmless(told)}" if terminal else f"{at} {told}"


def happened(event: Event) -> str:
    """What an event's data adds to its type, in words."""
    data = event["data"]
    if event["type"] == "task.exited":
        end = f"signal {data['signal']}" if data.get("signal") else f"code {data.get('exit_code')}"
        said = ["as asked" if data.get("asked") else end]
    elif data.get("total"):
        said = [f"{data['ready']} of {data['total']} ready"]
    elif "duration_ms" in data:
        said = [f"after {duration(data['duration_ms'] / 1000)}"]
    else:
        said = [
            f"{name} {value}"
            for name, value in data.items()
            if isinstance(value, str | int) and name not in _IMPLIED
        ]
    if data.get("reason"):
        said.append(reason(data["reason"]))
    if data.get("next_try_in_secs") is not None:
        said.append(f"tried again in {duration(data['next_try_in_secs'])}")
    return ", ".join(said)


def _harmless(text: str) -> str:
    """For a terminal: colours stay, what else could move its cursor is replaced."""
    return _CONTROLS.sub(lambda found: found[1] or "\N{REPLACEMENT CHARACTER}", text)
