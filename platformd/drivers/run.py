"""What the native driver knows of one task while it has to do with it.

Made by `launch` or `adopt`, dropped by `forget`. Fields change on the loop thread unless their comment says otherwise;
each is a plain value that other threads may read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from platformd.domain.snapshot import Exit
from platformd.drivers.base import LaunchOrder
from platformd.drivers.cgroup import Group
from platformd.drivers.killset import Family
from platformd.ownership import HOST

HANDLE_VERSION = 1


@dataclass(slots=True)
class Run:
    """`family` has no first process (pid 0) until the launch is known; then only the marker tells who belongs to it."""

    order: LaunchOrder
    port: int | None
    family: Family
    started_ns: int = 0
    """CLOCK_BOOTTIME at its start."""
    ordered: bool = False
    """The keeper was told to start it; by whoever launched it."""
    armed: bool = False
    """The keeper holds its order for the gateway to fire, or did when it was fired: its actor is not born yet."""
    ready: bool = False
    still: bool = False
    """It shall stand still; by whoever orders it, any thread."""
    frozen_group: Group | None = None
    """The cgroup that holds it still …"""
    stopped: tuple[tuple[int, int], ...] = ()
    """… or the processes that were stopped, by pid and start time."""
    told_how: bool = False
    exit: Exit | None = None
    killed: bool = False
    emptied: bool = False
    """Nothing of it lives; by a worker."""
    missing: int = 0
    """How often in a row its process was not there while no exit had been told; by a worker."""
    limiting: bool = False
    """A worker has begun to set its limits …"""
    limited: bool = False
    """… and has done so; by that worker."""
    ooms: int = 0
    """Out-of-memory kills that were told of already; by a worker."""
    over_memory: bool = False
    """The memory watch ended it; by a worker."""
    forgotten: bool = False

    @property
    def task_id(self) -> str:
        return self.order.task_id

    @property
    def launched(self) -> bool:
        return self.family.pid > 0

    @property
    def lives(self) -> bool:
        return self.launched and self.exit is None and not self.forgotten

    @property
    def address(self) -> tuple[str, int] | None:
        return None if self.port is None else (HOST, self.port)

    def handle(self, boot_id: str) -> dict[str, object]:
        return {
            **seed(boot_id, self.port),
            "pid": self.family.pid,
            "start_time": self.family.start_time,
        }


def seed(boot_id: str, port: int | None) -> dict[str, object]:
    """The part of a handle that is known before there is a process; the keeper adds pid and start time."""
    return {"v": HANDLE_VERSION, "boot": boot_id, "port": port}


def unborn(task_id: str) -> Family:
    """A family of which nothing is known but its marker."""
    return Family(task_id, pid=0, start_time=0, session_counts=False)


def number(handle: Mapping[str, object], name: str) -> int | None:
    """A whole number out of a handle that somebody else may have written."""
    value = handle.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
