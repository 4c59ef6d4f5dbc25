"""What became of a task while nobody looked: from its handle, the keeper's record, and the process itself.

Used by the native driver's workers. A process is a task's own only if the keeper says so or if boot, start time and
marker all agree, so a row that names somebody else's process leads nowhere.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from platformd.domain.snapshot import Exit
from platformd.drivers import proc
from platformd.drivers.book import Record
from platformd.drivers.cgroup_places import Cgroups
from platformd.drivers.killset import Family
from platformd.drivers.run import HANDLE_VERSION, number, unborn


@dataclass(frozen=True, slots=True)
class Found:
    """`exit` is None while it lives. `port` None: not known, or it has none."""

    family: Family
    started_ns: int
    port: int | None
    exit: Exit | None


def find(
    task_id: str, handle: Mapping[str, object] | None, record: Record | None, boot_id: str, cgroups: Cgroups
) -> Found:
    """What is left of the task; an unknown exit when neither the keeper nor the process list knows it."""
    handle = {} if handle is None else handle
    port = number(handle, "port")
    if record is not None:
        return _recorded(task_id, record, port, cgroups)
    family = verified(task_id, handle, boot_id)
    if family is not None:
        return Found(family, _started_ns(family), port, None)
    return Found(_dead(task_id, cgroups), 0, port, Exit(unknown=True))


def verified(task_id: str, handle: Mapping[str, object] | None, boot_id: str) -> Family | None:
    """The family of the first process a handle names, if that is alive and certainly the task's."""
    if handle is None or handle.get("v") != HANDLE_VERSION or handle.get("boot") != boot_id:
        return None
    pid, start_time = number(handle, "pid"), number(handle, "start_time")
    if pid is None or start_time is None or pid <= 1:
        return None
    if not proc.alive(pid, start_time) or not proc.has_marker(pid, task_id):
        return None
    return Family(task_id, pid, start_time)


def exit_of(event: Mapping[str, Any]) -> Exit:
    """An exit as the keeper tells it, in `exited` or in a record."""
    lines = tuple(str(line) for line in event.get("last_lines") or ())
    return Exit(
        code=event.get("code"),
        signal=None if event.get("signal") is None else signal_name(event["signal"]),
        unknown=bool(event.get("unknown")),
        last_lines=lines,
    )


def signal_name(value: int) -> str:
    try:
        return signal.Signals(value).name
    except ValueError:
        return f"SIGRTMIN+{value - signal.SIGRTMIN}" if value > signal.SIGRTMIN else f"signal {value}"


def _recorded(task_id: str, record: Record, port: int | None, cgroups: Cgroups) -> Found:
    pid, start_time, started_ns = record["pid"], record["start_time"], record["boot_ns"]
    if record.get("exit") is not None:
        return Found(_dead(task_id, cgroups), started_ns, port, exit_of(record["exit"]))
    if port is None:
        port = number(record.get("handle") or {}, "port") or _port_told(pid)
    return Found(Family(task_id, pid, start_time), started_ns, port, None)


def _dead(task_id: str, cgroups: Cgroups) -> Family:
    """Of an ended task only marker and cgroup tell what it left: its numbers may be somebody else's by now."""
    family = unborn(task_id)
    family.group = cgroups.group(task_id) if cgroups.usable else None
    return family


def _port_told(pid: int) -> int | None:
    text = proc.environ(pid).get("PORT", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _started_ns(family: Family) -> int:
    return family.start_time * 1_000_000_000 // proc.TICKS
