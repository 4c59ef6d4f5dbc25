"""A driver without processes: does what a script says, at once or step by step, always the same way.

For tests of actors and of recovery. Everything happens in the caller's thread: what a script does "after n ticks"
happens in the n-th call of `tick`, with 0 within the order itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from platformd import clock
from platformd.domain.events import (
    Exited,
    Frozen,
    Launched,
    LaunchFailed,
    LaunchWaits,
    Probed,
    Swept,
    TaskFact,
    Thawed,
)
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import StopPolicy
from platformd.domain.task import LYING, Task
from platformd.drivers.base import LaunchOrder, Sink, Usage
from platformd.ids import new_id

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How tasks behave. Numbers are ticks, None is never."""

    waits: Reason | None = None
    """LaunchWaits with this instead of a start, the first `waits_times` times."""
    waits_times: int = 1
    fails: Reason | None = None
    """LaunchFailed with this instead of a start."""
    launched_after: int | None = 0
    ready_after: int | None = 0
    """After it was launched."""
    exits_after: int | None = None
    """By itself, after it was launched, with `exit`."""
    exit: Exit = field(default_factory=lambda: Exit(code=0))
    obeys_after: int | None = 0
    """From a signal to its exit; None ignores it."""
    dies_after: int | None = 0
    """From a kill to its exit."""
    swept_after: int = 0
    """From a kill or a sweep until nothing is left."""


READY = Script()
NEVER_READY = Script(ready_after=None)
EXITS_AT_ONCE = Script(ready_after=None, exits_after=0, exit=Exit(code=3, last_lines=("no configuration",)))
WAITS_FOR_PORT = Script(waits=Reason(code="PORT_IN_USE", message="port 8080 is held by pid 77 (nginx)"))
CANNOT_START = Script(fails=Reason(code="NOT_EXECUTABLE", message="it has no executable format"))
SLOW_TO_EXIT = Script(obeys_after=5)
IGNORES_SIGNALS = Script(obeys_after=None)


@dataclass(slots=True)
class FakeTask:
    """One task of the fake's: what it was asked, and what is still to come as (tick, fact)."""

    order: LaunchOrder
    script: Script
    number: int
    due: list[tuple[int, TaskFact]] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    launched: bool = False
    ready: bool = False
    frozen: bool = False
    exit: Exit | None = None

    @property
    def address(self) -> tuple[str, int]:
        return HOST, 20000 + self.number

    @property
    def alive(self) -> bool:
        return self.launched and self.exit is None


class FakeDriver:
    """Keeps `drivers.base.Driver`. `script` is for all tasks, `scripts` by deployment or task id for some."""

    intent_first = False

    def __init__(self, sink: Sink, script: Script = READY) -> None:
        self.script = script
        self.scripts: dict[str, Script] = {}
        self.tasks: dict[str, FakeTask] = {}
        self.calls: list[tuple[str, str]] = []
        """(order, task id) in order."""
        self._sink = sink
        self._now = 0
        self._numbers = itertools.count()
        self._waited: dict[str, int] = {}

    @property
    def alive(self) -> list[str]:
        """The tasks that live."""
        return [task_id for task_id, task in self.tasks.items() if task.alive]

    def started(self, deployment_id: str) -> int:
        """How many tasks of a deployment were ever launched and not forgotten since."""
        return sum(task.launched for task in self.tasks.values() if task.order.deployment_id == deployment_id)

    def tick(self, times: int = 1) -> None:
        """Let time pass in the scripts."""
        for _ in range(times):
            self._now += 1
            for task_id in list(self.tasks):
                self._deliver(task_id)

    def exit(self, task_id: str, exit: Exit) -> None:
        """Let a task end now."""
        self._plan(task_id, 0, Exited(exit))
        self._deliver(task_id)

    def tell(self, task_id: str, fact: TaskFact) -> None:
        """Any fact, now, as for health."""
        self._sink(task_id, fact)

    # ---- the contract --------------------------------------------------------------------------------------

    def next_id(self, _deployment_id: str, _slot: int, /) -> str:
        return new_id()

    def launch(self, order: LaunchOrder) -> None:
        self.calls.append(("launch", order.task_id))
        if order.task_id in self.tasks:
            self._tell_again(self.tasks[order.task_id])
            return
        script = self.scripts.get(order.task_id) or self.scripts.get(order.deployment_id) or self.script
        if script.fails is not None:
            self._sink(order.task_id, LaunchFailed(script.fails))
            return
        waited = self._waited.get(order.task_id, 0)
        if script.waits is not None and waited < script.waits_times:
            self._waited[order.task_id] = waited + 1
            self._sink(order.task_id, LaunchWaits(script.waits))
            return
        task = self.tasks[order.task_id] = FakeTask(order, script, next(self._numbers))
        self._plan(order.task_id, script.launched_after, self._launched(task))
        self._deliver(order.task_id)

    def adopt(self, task: Task, order: LaunchOrder) -> None:
        """Known to this driver, as to a keeper, or else gone without an exit code."""
        self.calls.append(("adopt", task.id))
        known = self.tasks.get(task.id)
        if known is None:
            unknown = Exit(unknown=True)
            known = FakeTask(order, self.script, next(self._numbers), launched=True, exit=unknown)
            self.tasks[task.id] = known
        if known.exit is not None:
            self._sink(task.id, Exited(known.exit))
        elif task.phase in LYING:
            self._sink(task.id, Frozen() if known.frozen else Thawed())
        elif task.ready_at is None and known.alive:
            known.frozen = False
            self._plan(task.id, known.script.ready_after, Probed(known.address))
            self._deliver(task.id)

    def signal(self, task: Task, signal: str) -> None:
        self.calls.append((signal, task.id))
        known = self.tasks.get(task.id)
        if known is not None and known.alive:
            known.signals.append(signal)
            self._plan(task.id, known.script.obeys_after, Exited(Exit(signal=signal)))
            self._deliver(task.id)

    def freeze(self, task: Task) -> None:
        self.calls.append(("freeze", task.id))
        known = self.tasks.get(task.id)
        if known is not None and known.alive:
            known.frozen = True
            self._sink(task.id, Frozen())

    def thaw(self, task: Task) -> None:
        self.calls.append(("thaw", task.id))
        known = self.tasks.get(task.id)
        if known is not None:
            known.frozen = False

    def kill(self, task: Task) -> None:
        self.calls.append(("kill", task.id))
        known = self.tasks.get(task.id)
        if known is None or known.exit is not None:
            self._sweep(task.id)
            return
        known.due = [(at, fact) for at, fact in known.due if not isinstance(fact, Exited | Probed)]
        self._plan(task.id, known.script.dies_after, Exited(Exit(signal="SIGKILL")))
        if known.script.dies_after is not None:
            self._plan(task.id, known.script.dies_after + known.script.swept_after, Swept())
        self._deliver(task.id)

    def sweep(self, task: Task) -> None:
        self.calls.append(("sweep", task.id))
        self._sweep(task.id)

    def forget(self, task: Task) -> None:
        self.calls.append(("forget", task.id))
        self.tasks.pop(task.id, None)
        self._waited.pop(task.id, None)

    def usage(self, task_ids: Iterable[str]) -> Mapping[str, Usage]:
        alive = set(self.alive)
        return {
            task_id: Usage(cpu_percent=1.0, memory_bytes=1 << 20) for task_id in task_ids if task_id in alive
        }

    def end(self, task: Task, stop: StopPolicy) -> None:  # noqa: ARG002 - the contract names it
        self.calls.append(("end", task.id))
        known = self.tasks.get(task.id)
        if known is not None:
            known.exit = Exit(unknown=True)
            known.due.clear()

    def put_away(self) -> None:
        """Nothing is made ready beforehand."""

    # ---- scripts -------------------------------------------------------------------------------------------

    def _sweep(self, task_id: str) -> None:
        known = self.tasks.get(task_id)
        if known is None:
            self._sink(task_id, Swept())
            return
        known.due = [(at, fact) for at, fact in known.due if not isinstance(fact, Swept)]
        self._plan(task_id, known.script.swept_after, Swept())
        self._deliver(task_id)

    def _tell_again(self, task: FakeTask) -> None:
        """Whoever asks a second time may have missed what was told before."""
        if task.launched:
            self._sink(task.order.task_id, self._launched(task))
        if task.ready:
            self._sink(task.order.task_id, Probed(task.address))
        if task.exit is not None:
            self._sink(task.order.task_id, Exited(task.exit))

    def _launched(self, task: FakeTask) -> Launched:
        handle = {"v": 1, "fake": task.number}
        return Launched(handle=handle, at=clock.steady(), pid=1_000_000 + task.number, address=task.address)

    def _plan(self, task_id: str, after: int | None, fact: TaskFact) -> None:
        if after is not None:
            self.tasks[task_id].due.append((self._now + after, fact))

    def _deliver(self, task_id: str) -> None:
        """Tell what is due, in the order it was planned; telling may order more of this very task."""
        while (task := self.tasks.get(task_id)) is not None:
            due = next((entry for entry in task.due if entry[0] <= self._now), None)
            if due is None:
                return
            task.due.remove(due)
            self._happen(task, due[1])

    def _happen(self, task: FakeTask, fact: TaskFact) -> None:
        task_id, script = task.order.task_id, task.script
        if isinstance(fact, Launched):
            task.launched = True
            fact = replace(fact, at=clock.steady())
            self._plan(task_id, script.ready_after, Probed(task.address))
            self._plan(task_id, script.exits_after, Exited(script.exit))
        elif isinstance(fact, Probed):
            task.ready = True
        elif isinstance(fact, Exited):
            if task.exit is not None:
                return
            task.exit = fact.exit
            task.due = [(at, later) for at, later in task.due if isinstance(later, Swept)]
        self._sink(task_id, fact)
