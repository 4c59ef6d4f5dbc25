"""From a launch request to a running task: folders, sockets, spawn, record. One thread.

What the answer does not need (closing our copies, the record on disk) is left on `behind`.
"""

from __future__ import annotations

import os
import re
import signal

from . import folders, linux, segments
from .folders import Spares
from .launch import Identity, Spawner, listen, with_listen_pid
from .output import Reader
from .tasks import OWN_DEPLOYMENT, Task, log_name
from .wire import GATEWAY_PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence
    from typing import Any

    from .folders import Spare
    from .journal import Journals


RETRY_SECONDS = 1.0
_NAME = re.compile(r"(?!spare-|trash-)[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


class Plan:
    """What to start, checked; `spare` is set once folders are there under its name."""

    __slots__ = (
        "argv",
        "deployment",
        "env",
        "folder",
        "handle",
        "identity",
        "listen",
        "slots",
        "spare",
        "task",
    )

    def __init__(self, message: dict[str, Any]) -> None:
        """Of a `launch` or `arm`; KeyError, TypeError, ValueError or OSError when it asks for what cannot be."""
        self.task, self.deployment = proper_name(message["task"]), proper_name(message["deployment"])
        self.argv, self.env = _argv(message["argv"]), dict(message["env"])
        self.identity = Identity(message.get("uid"), message.get("gid"), message.get("rlimits") or {})
        self.slots = (message.get("slot"), message.get("generation"))
        self.folder = str(message.get("cwd") or f"work/{self.task}")
        self.handle = dict(message.get("handle") or {})
        self.listen = message.get("listen")
        self.spare: Spare | None = None


class Starter:
    """Starts tasks and gateways; `know` is told of each, before anything left on `behind` runs."""

    def __init__(
        self,
        spawner: Spawner,
        journals: Journals,
        behind: deque[Callable[[], None]],
        know: Callable[[Task], None],
        is_known: Callable[[Task], bool],
    ) -> None:
        self.spawner, self.journals, self.behind = spawner, journals, behind
        self.know, self.is_known = know, is_known
        self._started: list[tuple[Spare, Task]] = []
        self.spares = Spares()
        self.boot_id = linux.boot_id()

    def task(self, plan: Plan) -> Task:
        """Start it; OSError, ValueError or OverflowError when it cannot be.

        `settle` must follow before any other event is handled.
        """
        if plan.listen is None:
            return self._start(plan, plan.argv, plan.env)
        host, port = plan.listen
        with listen(host, port) as sock:
            env = {**plan.env, "LISTEN_FDS": "1"}
            return self._start(plan, with_listen_pid(plan.argv), env, [sock.fileno()])

    def gateway(self, argv: list[str], env: dict[str, str], sockets: list[int]) -> Task:
        """Start a gateway with `sockets` as its descriptors 3, 4, …"""
        name = f"{GATEWAY_PREFIX}{os.urandom(6).hex()}"
        plan = Plan(
            {"task": name, "deployment": OWN_DEPLOYMENT, "argv": argv, "env": {**env, "TASK_ID": name}}
        )
        try:
            return self._start(plan, plan.argv, plan.env, sockets)
        finally:
            self.settle()

    def set_aside(self, plan: Plan) -> None:
        """Folders for it now rather than at its start. Where there are none to be had, it starts without."""
        try:
            spare = self.spares.take()
        except OSError:
            return
        try:
            spare.give(plan.task, self._owner(plan.identity))
        except OSError:
            spare.discard()
        else:
            plan.spare = spare

    def drop(self, plan: Plan) -> None:
        """It is not to be started: its folders may be another's."""
        spare, plan.spare = plan.spare, None
        if spare is not None and not self.spares.take_back(spare):
            self.behind.append(spare.discard)

    def _start(self, plan: Plan, argv: list[str], env: dict[str, str], sockets: Sequence[int] = ()) -> Task:
        spare, plan.spare = plan.spare or self.spares.take(), None
        try:
            if spare.name != plan.task:
                spare.give(plan.task, self._owner(plan.identity))
            before = linux.boot_ns()
            pid = self.spawner.spawn(argv, env, plan.folder, [*spare.theirs, *sockets], plan.identity)
            after = linux.boot_ns()
            spare.close_theirs()
            born = _born_at(pid, before, after)
        except BaseException:
            spare.discard()
            raise
        task = Task(plan.task, plan.deployment, *plan.slots, pid, born, after, plan.handle)
        self._started.append((spare, task))
        return task

    def settle(self) -> None:
        """Begin to look after what was started. Called right after the answer, which need not wait for it."""
        while self._started:
            spare, task = self._started.pop()
            journal = self.journals.of(task.deployment, log_name(task.task))
            fifos = enumerate(spare.ours, segments.STDOUT)
            task.readers = [Reader(fd, stream, journal, task.task) for stream, fd in fifos]
            spare.ours = []
            self.know(task)
            self.behind.append(lambda task=task: self._record(task))  # type: ignore[misc]

    def _owner(self, identity: Identity) -> tuple[int, int]:
        """Whose its folders are, and those of the next spares."""
        self.spares.owner = identity.owner or (self.spawner.uid, self.spawner.gid)
        return self.spares.owner

    def _record(self, task: Task) -> None:
        if self.is_known(task):
            try:
                task.save_launch(self.boot_id)
            except OSError:
                self.journals.later(RETRY_SECONDS, lambda: self._record(task))

    def forget(self, task: Task) -> None:
        self.behind.append(lambda: folders.remove(task.task))
        self.spares.retry()


def _born_at(pid: int, before: int, after: int) -> int:
    """The start time of a child spawned between two instants; one that cannot be told by it is not kept.

    It counts in hundredths of a second of the boot clock, so unless one passed meanwhile we know it already, and
    need not wait for /proc, which takes 0.4 ms while the child is being loaded.
    """
    if linux.ticks(before) == linux.ticks(after):
        return linux.ticks(before)
    try:
        return linux.born_at(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # it is our child and not reaped, so the number is still its own
        raise


def proper_name(value: object) -> str:
    """`value`, if it can be the name of a folder; ValueError otherwise."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{value!r:.120} is no id: letters, digits, '-', '_' and '.' only, 100 at most")
    return value


def _argv(value: object) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
        raise ValueError(f"argv must be a list of strings that names a program, not {value!r:.100}")
    return value
