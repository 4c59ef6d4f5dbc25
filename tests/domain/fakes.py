"""A gateway and a driver with its processes, as small as the two machines need them to be.

Used by `tests.domain.world` only. Each answers the way the real one does; whoever plays decides when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from platformd.domain import commands, events
from platformd.domain.deployment.routing import Routing
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.task import TaskPhase

KILLED = Exit(signal="SIGKILL")
ENDED = Exit(signal="SIGTERM")
UNKNOWN = Exit(unknown=True)
Tell = Callable[[str, object], None]


class FakeGateway:
    """Holds, wakes, forwards and closes. Orders of the service wait in `inbox` until they are `obeyed`."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.inbox: deque[tuple[Any, ...]] = deque()
        self.targets: frozenset[str] = frozenset()
        self.wakeable = True
        self.wake_sent = False
        self.held = 0
        self.inflight: dict[str, int] = {}
        self.draining: dict[str, datetime] = {}
        self.timed_out: set[str] = set()
        self.shut: set[str] = set()
        self.last_active: datetime | None = None
        self.quiet_told = True

    @property
    def active(self) -> bool:
        return bool(self.held or any(self.inflight.values()))

    def obey(self, now: datetime) -> None:
        kind, *rest = self.inbox.popleft()
        if kind == "route":
            self._route(*rest)
        elif kind == "sync":
            self.wake_sent = False
            self.shut.clear()
            self._route(*rest)
        elif kind == "fail":
            self._fail()
            self._ended(now)
        elif kind == "idle":
            self._close_idle(*rest)
        else:
            task_id, drain = rest
            self.targets -= {task_id}
            if kind == "close":
                self.shut.add(task_id)
            self.draining[task_id] = now + drain
            self._settle()

    def request(self, now: datetime, choose: Callable[[list[str]], str]) -> str | None:
        """The task it went to at once."""
        if self.targets:
            task_id = choose(sorted(self.targets))
            self.inflight[task_id] = self.inflight.get(task_id, 0) + 1
            return task_id
        if self.wakeable:
            self.held += 1
            self._settle()
        return None

    def foresee(self, task_id: str) -> None:
        """It had this one started for its wake and sees it listen, before the service says so."""
        if not self.targets and task_id not in self.shut:
            self.targets = frozenset((task_id,))
            self._settle()

    def finish(self, task_id: str, now: datetime) -> None:
        self.inflight[task_id] -= 1
        self._ended(now)

    def cut(self, task_id: str, now: datetime) -> None:
        """The process is gone, and with it what it was asked."""
        if self.inflight.pop(task_id, 0):
            self._ended(now)

    def drained(self, now: datetime) -> list[str]:
        return [task for task, until in self.draining.items() if not self.inflight.get(task) or now >= until]

    def closed(self, task_id: str) -> None:
        del self.draining[task_id]
        if self.inflight.get(task_id):
            self.timed_out.add(task_id)
        self._tell(task_id, events.Closed())

    def quiet_due(self, now: datetime) -> bool:
        quiet = not self.active and not self.quiet_told and self.last_active is not None
        return quiet and now >= self.last_active + timedelta(seconds=1)

    def tell_quiet(self) -> None:
        self.quiet_told = True
        self._tell("d", events.WentQuiet(self.last_active))

    def restart(self) -> None:
        """Another process: nothing known, everything cut."""
        self.__init__(self._tell)  # type: ignore[misc]

    def _route(self, routing: Routing) -> None:
        self.targets = frozenset(target.task_id for target in routing.targets) - self.shut
        if routing.targets and not self.targets:
            self.wake_sent = False
        self.wakeable = routing.refusal is None
        self._settle()

    def _settle(self) -> None:
        if self.targets:
            self.wake_sent = False
            first = min(self.targets)
            if self.held:
                self.inflight[first] = self.inflight.get(first, 0) + self.held
            self.held = 0
        elif self.held and not self.wakeable:
            self._fail()
        elif self.held and not self.wake_sent:
            self.wake_sent = True
            self._tell("d", commands.Wake(by_traffic=True))

    def _fail(self) -> None:
        self.held, self.wake_sent = 0, False

    def _ended(self, now: datetime) -> None:
        if not self.active:
            self.last_active, self.quiet_told = now, False

    def _close_idle(self, since: datetime, task_ids: tuple[str, ...]) -> None:
        if self.active or (self.last_active is not None and self.last_active > since):
            self._tell("d", events.IdleRefused())
            return
        self.targets -= frozenset(task_ids)
        self._tell("d", events.IdleClosed())


@dataclass
class Process:
    """What really runs, and the keeper's record of it."""

    task_id: str
    slot: int
    generation: int
    alive: bool = True
    listens: bool = False
    stubborn: bool = False
    signalled: bool = False
    frozen: bool = False
    exit: Exit | None = None


@dataclass
class FakeDriver:
    """`processes` outlive the service, everything else is its memory."""

    tell: Tell
    cut: Callable[[str], None]
    address: tuple[str, int] | None
    processes: dict[str, Process] = field(default_factory=dict)
    launching: dict[str, tuple[int, int]] = field(default_factory=dict)
    pulling: set[str] = field(default_factory=set)
    unprobed: set[str] = field(default_factory=set)
    killing: set[str] = field(default_factory=set)
    sweeping: set[str] = field(default_factory=set)
    unhealthy: set[str] = field(default_factory=set)
    adopting: dict[str, TaskPhase] = field(default_factory=dict)
    freezing: set[str] = field(default_factory=set)
    untold: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)

    def launched(self, task_id: str, now: datetime, stubborn: bool = False) -> None:
        slot, generation = self.launching.pop(task_id)
        if task_id in self.pulling:
            self.image(task_id)
        process = self.processes.get(task_id)
        if process is None:
            process = self.processes[task_id] = Process(task_id, slot, generation, stubborn=stubborn)
        if task_id in self.forgotten:  # given up before it began
            del self.processes[task_id]
            return
        self.tell(task_id, events.Launched({"pid": 1}, now, pid=1, address=self.address))
        self.unprobed.add(task_id)
        if not process.alive:
            self.untold.add(task_id)

    def image(self, task_id: str) -> None:
        """It is not there, or there at last."""
        if task_id in self.pulling:
            self.pulling.discard(task_id)
            self.tell(task_id, events.ImageFound("nginx", "sha256:1"))
        else:
            self.pulling.add(task_id)
            self.tell(task_id, events.ImageWanted("nginx"))

    def waits(self, task_id: str) -> None:
        del self.launching[task_id]
        reason = Reason(code="PORT_IN_USE", message="port 80 is held by nginx")
        self.tell(task_id, events.LaunchWaits(reason))

    def fails(self, task_id: str) -> None:
        del self.launching[task_id]
        self.tell(task_id, events.LaunchFailed(Reason(code="ENOEXEC", message="cannot be executed")))

    def probe(self, task_id: str) -> None:
        self.unprobed.discard(task_id)
        self.processes[task_id].listens = True
        self.tell(task_id, events.Probed(self.address))

    def health(self, task_id: str, fact: object) -> None:
        """`unhealthy` are those whose probes will answer again."""
        if isinstance(fact, events.HealthMissed):
            self.unhealthy.add(task_id)
        else:
            self.unhealthy.discard(task_id)
        self.tell(task_id, fact)

    def exits(self, task_id: str, exit: Exit) -> None:
        process = self.processes[task_id]
        process.alive, process.exit = False, exit
        self.unprobed.discard(task_id)
        self.unhealthy.discard(task_id)
        self.untold.add(task_id)
        self.cut(task_id)

    def tell_exit(self, task_id: str) -> None:
        self.untold.discard(task_id)
        process = self.processes.get(task_id)
        self.tell(task_id, events.Exited(process.exit if process and process.exit else UNKNOWN))

    def kill(self, task_id: str) -> None:
        self.killing.discard(task_id)
        self._end(task_id)
        self.tell(task_id, events.Swept())

    def sweep(self, task_id: str) -> None:
        self.sweeping.discard(task_id)
        self._end(task_id)
        self.tell(task_id, events.Swept())

    def adopt(self, task_id: str) -> None:
        """After a restart: is it there, and was it ready?"""
        phase = self.adopting.pop(task_id)
        process = self.processes.get(task_id)
        if process is None or not process.alive:
            self.tell_exit(task_id)
        elif phase not in (TaskPhase.FREEZING, TaskPhase.FROZEN):
            process.frozen = False
            self.unprobed.add(task_id)
        elif process.frozen:
            self.tell(task_id, events.Frozen())
        else:
            self.tell(task_id, events.Thawed())

    def freeze(self, task_id: str) -> None:
        self.unprobed.discard(task_id)
        self.freezing.add(task_id)

    def freezes(self, task_id: str) -> None:
        self.freezing.discard(task_id)
        process = self.processes.get(task_id)
        if process is not None and process.alive:
            process.frozen = True
            self.tell(task_id, events.Frozen())

    def cannot_freeze(self, task_id: str) -> None:
        self.freezing.discard(task_id)
        self.tell(task_id, events.FreezeFailed(Reason(code="FREEZE_FAILED", message="no")))

    def thaw(self, task_id: str) -> None:
        """At once, also in the middle of a freeze."""
        self.freezing.discard(task_id)
        if task_id in self.adopting:
            self.adopting[task_id] = TaskPhase.RUNNING
        if task_id in self.processes:
            self.processes[task_id].frozen = False

    def forget(self, task_id: str) -> None:
        self.forgotten.add(task_id)
        process = self.processes.get(task_id)
        if process is not None and not process.alive:
            del self.processes[task_id]
        self.adopting.pop(task_id, None)
        for memory in self._memories():
            memory.discard(task_id)

    def restart(self) -> None:
        self.launching.clear()
        self.forgotten.clear()
        self.adopting.clear()
        for memory in self._memories():
            memory.clear()

    def _memories(self) -> tuple[set[str], ...]:
        return (
            self.pulling,
            self.unprobed,
            self.killing,
            self.sweeping,
            self.unhealthy,
            self.freezing,
            self.untold,
        )

    def _end(self, task_id: str) -> None:
        process = self.processes.get(task_id)
        if process is not None and process.alive:
            self.exits(task_id, KILLED)
            self.tell_exit(task_id)
