"""One started process, its record in `run/<task>/`, and how it ended.

Used by everything in the keeper that deals with processes. Gateways are tasks too, with ids of their own kind, so
that launch, output, exit and adoption exist once. One thread.
"""

from __future__ import annotations

import json
import os

from .wire import GATEWAY_PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .output import Reader

OWN_DEPLOYMENT, GATEWAY_LOG = "platformd", "gateway"
_NAMED = ("task", "deployment", "slot", "generation", "pid", "start_time", "boot_ns", "handle")


class Task:
    """`exit` is None while it lives; `child` is False for one that was adopted; `saved`: its exit is on disk.

    `handle` is the driver's own note, opaque here.
    """

    __slots__ = (
        *_NAMED,
        "child",
        "exit",
        "pidfd",
        "readers",
        "saved",
    )

    def __init__(
        self,
        task: str,
        deployment: str,
        slot: int | None,
        generation: int | None,
        pid: int,
        start_time: int,
        boot_ns: int,
        handle: dict[str, Any] | None = None,
        child: bool = True,
    ) -> None:
        self.task, self.deployment, self.slot, self.generation = task, deployment, slot, generation
        self.pid, self.start_time, self.boot_ns, self.child = pid, start_time, boot_ns, child
        self.handle = handle or {}
        self.exit: dict[str, Any] | None = None
        self.saved = False
        self.pidfd = -1
        self.readers: list[Reader] = []

    @property
    def is_gateway(self) -> bool:
        return self.task.startswith(GATEWAY_PREFIX)

    def record(self) -> dict[str, Any]:
        """What names it, as in its launch record."""
        return {name: getattr(self, name) for name in _NAMED}

    def exited(self) -> dict[str, Any]:
        """What serve is told of its end."""
        ids = {"task": self.task, "deployment": self.deployment, "pid": self.pid}
        return {"op": "exited", **ids, **(self.exit or {})}

    def save_launch(self, boot_id: str) -> None:
        write_json(f"run/{self.task}/launch.json", {**self.record(), "boot_id": boot_id}, sync=False)

    def save_exit(self) -> None:
        """OSError when the disk refuses; the exit then stays in memory until it does not."""
        write_json(f"run/{self.task}/exit.json", self.exit, sync=True)
        self.saved = True

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def log_name(task: str) -> str:
    """The folder of a task's output; all gateways share one."""
    return GATEWAY_LOG if task.startswith(GATEWAY_PREFIX) else task


def write_json(path: str, value: object, sync: bool) -> None:
    """Replace `path` whole or leave it."""
    temporary = f"{path}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    data = json.dumps(value).encode()
    try:
        if os.write(fd, data) != len(data):
            raise OSError(28, "no space left")
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)


def read_json(path: str) -> dict[str, Any] | None:
    """The object in `path`; None when there is none or it was cut off by a crash."""
    try:
        with open(path, "rb") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
