"""What the Docker driver knows of one task while it has to do with it, and its jobs in a row.

Made by `launch` or `adopt`, dropped by `forget`. Fields are changed by the run's own jobs, of which one works at a
time, unless their comment says otherwise; each is a plain value that other threads may read.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from platformd.domain.snapshot import Exit
from platformd.drivers.base import LaunchOrder
from platformd.drivers.cgroup import Group
from platformd.drivers.docker.follower import Follower

HANDLE_VERSION = 1
Job = Callable[[], None]


class Line:
    """Jobs of one run, one after the other, in whichever thread of the pool is free."""

    def __init__(self, submit: Callable[[Job], None]) -> None:
        self._submit = submit
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._working = False

    def add(self, job: Job) -> None:
        with self._lock:
            self._jobs.append(job)
            if self._working:
                return
            self._working = True
        self._submit(self._work)

    def _work(self) -> None:
        """One job and back into the pool's queue, so that no run keeps others waiting."""
        with self._lock:
            job = self._jobs.popleft()
        try:
            job()
        finally:
            with self._lock:
                self._working = bool(self._jobs)
            if self._working:
                self._submit(self._work)


@dataclass(slots=True)
class Run:
    """`container` is the engine's id, known once it is created."""

    order: LaunchOrder
    line: Line
    container: str | None = None
    address: tuple[str, int] | None = None
    started_ns: int = 0
    """CLOCK_BOOTTIME at its start."""
    launched: bool = False
    ready: bool = False
    """On the loop's thread."""
    told: Exit | None = None
    """How it ended, once its actor was told."""
    ending: bool = False
    """Its exit is known and its last output awaited."""
    killed: bool = False
    forgotten: bool = False
    """By any thread."""
    waiting: Job | None = None
    """What is to be done with it as soon as the engine is back."""
    tries: int = 0
    follower: Follower | None = None
    group: Group | None = None
    """Its cgroups, where they can be reached from here."""
    port: int | None = None
    published: bool = False
    still: bool = False
    """It is to stand still; by any thread."""
    frozen_group: Group | None = None
    """Whose freezer holds it."""
    paused: bool = False
    """The engine holds it."""

    @property
    def task_id(self) -> str:
        return self.order.task_id

    @property
    def lives(self) -> bool:
        return self.launched and self.told is None and not self.forgotten

    def handle(self) -> dict[str, object]:
        address = None if self.address is None else list(self.address)
        return {"v": HANDLE_VERSION, "container": self.container, "address": address}


def container_of(handle: Mapping[str, object] | None) -> str | None:
    """The engine's id out of a handle."""
    found = (handle or {}).get("container")
    return found if isinstance(found, str) else None


def address_of(handle: Mapping[str, object] | None) -> tuple[str, int] | None:
    match (handle or {}).get("address"):
        case [str(host), int(port)]:
            return host, port
    return None
