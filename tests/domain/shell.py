"""A service around one deployment and its tasks: carries out their effects, saves behind, can be killed.

Every step is checked against `tests.domain.invariants` and against the tables. Time is added by `tests.domain.world`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any

from platformd.domain import commands, effects, events
from platformd.domain.deployment import transitions as deployments
from platformd.domain.deployment.routing import routing
from platformd.domain.deployment.state import Phase
from platformd.domain.effects import Moment
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task import StopStage, Task, TaskPhase
from platformd.domain.task import transitions as tasks
from platformd.domain.task.transitions import new_task, pursue
from platformd.errors import PlatformError
from tests.domain import invariants
from tests.domain.builders import ADDRESS, START, created
from tests.domain.fakes import FakeDriver, FakeGateway, Process

DEPLOYMENT = "d"
BURIED = Reason(code="HOST_RESTARTED", message="the host was restarted")
taken: set[tuple[str, type, str, str]] = set()
"""(machine, event type, phase before, phase after) of every step in any world of this run."""


class Shell:
    """`deployment` and `tasks` are the service's memory, `rows` what is durable, `log` what was saved since."""

    def __init__(self, spec: DeploymentSpec, random: Random) -> None:
        self.random = random
        self.now = START
        self.ids = 0
        self.deployment = created(spec)
        self.tasks: dict[str, Task] = {}
        self.rows: dict[str, Any] = {DEPLOYMENT: self.deployment}
        self.log: list[tuple[str, Any]] = []
        self.inboxes: defaultdict[str, deque[object]] = defaultdict(deque)
        self.claims = 0
        self.fired: dict[str, tuple[datetime, int]] = {}
        self.gateway = FakeGateway(self.tell)
        address = ADDRESS if spec.serves else None
        self.driver = FakeDriver(self.tell, lambda task_id: self.gateway.cut(task_id, self.now), address)
        self._activate(host=False)
        self.tell(DEPLOYMENT, events.Created())

    # ---- the shell -----------------------------------------------------------------------------------------

    def tell(self, key: str, message: object) -> None:
        self.inboxes[key].append(message)

    def deliver(self, key: str) -> None:
        message = self.inboxes[key].popleft()
        if not self.inboxes[key]:
            del self.inboxes[key]
        if key == DEPLOYMENT:
            if self.deployment.phase is not Phase.QUARANTINED:
                self.step_deployment(message)
        elif isinstance(message, Task):
            self.tasks[key] = message
            self.step_task(key, commands.Launch())
        elif key in self.tasks:
            self.step_task(key, message)

    def command(self, command: object, dies: bool = False) -> None:
        """Durable before it acts; `dies` kills the service between the two."""
        if self.deployment.phase is Phase.QUARANTINED:
            return
        try:
            result = deployments.step(self.deployment, command, self.moment())
        except PlatformError:
            return
        self.save(DEPLOYMENT, result.state)
        self.flush()
        if dies:
            self.restart()
        else:
            self.step_deployment(command)

    def step_deployment(self, event: object) -> None:
        before = self.deployment
        result = deployments.step(before, event, self.moment())
        state = self.deployment = result.state
        self.check_rule("deployment", deployments.TRANSITIONS, before.phase, state.phase, event)
        invariants.check_step(before, state)
        invariants.check_floor(before, event, state)
        for effect in result.effects:
            if isinstance(effect, effects.FailHeld):
                self.gateway.inbox.append(("fail",))
        if routing(before) != routing(state):
            self.gateway.inbox.append(("route", routing(state)))
        for effect in result.effects:
            self.carry_out(effect)
        if state is not before:
            self.save(DEPLOYMENT, state)
        self.check()

    def step_task(self, task_id: str, event: object) -> None:
        before = self.tasks[task_id]
        result = tasks.step(before, self.deployment.spec_of(before.generation), event, self.moment())
        self.tasks[task_id] = result.state
        self.check_rule("task", tasks.TRANSITIONS, before.phase, result.state.phase, event)
        invariants.check_task_step(before, result.state)
        invariants.check_task(result.state)
        if result.state.stop_stage is StopStage.SIGNALLED:
            self.save(task_id, result.state)
            self.flush()
        for effect in result.effects:
            self.carry_out_for(result.state, effect)
        if result.state is not before:
            self.save(task_id, result.state)

    def carry_out(self, effect: effects.DeploymentEffect) -> None:
        match effect:
            case effects.StartTask():
                assert effect.task_id not in self.tasks, "every task is a new one"
                self.check_start(effect)
                task = new_task(effect, DEPLOYMENT, "a", self.now)
                self.tell(task.id, task)
                self.save(task.id, task)
            case effects.StopTask(task_id, reason, drain, grace):
                self.tell(task_id, commands.Stop(reason, drain, grace))
            case effects.FreezeTask(task_id, drain):
                self.tell(task_id, commands.Freeze(drain))
            case effects.ThawTask(task_id):
                self.tell(task_id, commands.Thaw())
            case effects.LookBusy():
                if self.random.random() < 0.9:
                    self.tell(DEPLOYMENT, events.Looked(self.random.choice((None, None, "busy_path"))))
            case effects.RouteAgain():
                self.gateway.inbox.append(("route", routing(self.deployment)))
            case effects.AskTask(task_id):
                self.tell(task_id, commands.Recount())
            case effects.CloseIdle(since, task_ids):
                self.gateway.inbox.append(("idle", since, task_ids))
            case effects.ClaimCurrent():
                self.claims += 1

    def carry_out_for(self, task: Task, effect: effects.TaskEffect) -> None:
        driver, process = self.driver, self.driver.processes.get(task.id)
        match effect:
            case effects.LaunchTask():
                driver.launching[task.id] = (task.slot, task.generation)
            case effects.CloseInGateway(drain, for_good):
                self.gateway.inbox.append(("close" if for_good else "rest", task.id, drain))
            case effects.Freeze():
                driver.freeze(task.id)
            case effects.Thaw():
                driver.thaw(task.id)
            case effects.Signal():
                self.check_signal(task)
                assert process is None or not process.frozen, "thawed before any signal"
                if process is not None:
                    process.signalled = True
            case effects.Kill():
                driver.killing.add(task.id)
            case effects.Sweep():
                driver.sweeping.add(task.id)
            case effects.Forget():
                driver.forget(task.id)
            case effects.Report(fact):
                self.tell(DEPLOYMENT, fact)

    def moment(self) -> Moment:
        return Moment(self.now, self.random.uniform(-1, 1), lambda _: self.new_id())

    def new_id(self) -> str:
        self.ids += 1
        return f"t{self.ids:04}"

    def save(self, key: str, snapshot: Any) -> None:
        self.log.append((key, snapshot))

    def flush(self) -> None:
        for key, snapshot in self.log:
            row = self.rows.get(key)
            if key == DEPLOYMENT:
                assert not row.status.final or snapshot.status is row.status, (
                    "what is durable and final stays"
                )
            self.rows[key] = snapshot
        self.log.clear()

    # ---- restarts ------------------------------------------------------------------------------------------

    def restart(self, host: bool = False) -> None:
        """kill -9 of the service, or of the machine: some of the last saves are lost, all of its memory is."""
        self.log = self.log[: self.random.randint(0, len(self.log))]
        self.flush()
        for task_id in [*self.driver.launching]:
            if self.random.random() < 0.5:
                self.driver.launched(task_id, self.now)
        self.inboxes.clear()
        self.gateway.inbox.clear()
        self.claims = 0
        self.driver.restart()
        if host:
            self.gateway.restart()
            self.driver.processes.clear()
        for process in self.driver.processes.values():
            self._remember(process)
        self._activate(host)

    def _met(
        self, rows: dict[str, Task]
    ) -> tuple[tuple[events.TaskFound, ...], tuple[events.TaskExited | events.TaskStopping, ...]]:
        """The tasks a deployment made anew hears of, and the ends it may have missed."""
        found = tuple(
            events.TaskFound(row.id, row.slot, row.generation, row.phase is TaskPhase.STOPPING)
            for row in rows.values()
            if not row.phase.final
        )
        members = (rows.get(member.task_id) for member in self.deployment.members)
        ended = (
            events.TaskExited(row.id, row.exit or Exit(unknown=True), row.asked, row.reason)
            for row in members
            if row is not None and row.phase.final and row.reason != BURIED
        )
        stopping = (tasks.ending(row) for row in rows.values() if row.phase is TaskPhase.STOPPING)
        return found, (*ended, *stopping)

    def _remember(self, process: Process) -> None:
        """A row that says at least what the keeper knows."""
        row = self.rows.get(process.task_id)
        if row is not None and row.phase is not TaskPhase.PENDING:
            return
        at = self.now
        row = row or Task(
            id=process.task_id,
            deployment_id=DEPLOYMENT,
            app_id="a",
            slot=process.slot,
            generation=process.generation,
            created_at=at,
            updated_at=at,
        )
        started = replace(
            row, phase=TaskPhase.STARTING, started_at=at, retry_at=None, revision=row.revision + 1
        )
        self.rows[process.task_id] = started

    def _activate(self, host: bool) -> None:
        rows = {key: row for key, row in self.rows.items() if isinstance(row, Task)}
        if host:
            for key, row in rows.items():
                if not row.phase.final:
                    rows[key] = self.rows[key] = _buried(row, self.now)
        live = {key: row for key, row in rows.items() if not row.phase.final}
        self.tasks = dict(live)
        self.deployment = self.rows[DEPLOYMENT]
        self._sync()
        found, ended = self._met(rows)
        if self.deployment.phase is not Phase.DONE or found:
            self.step_deployment(events.Recovered(found, host, ended))
        for key, row in live.items():
            if row.phase is not TaskPhase.PENDING:
                self.driver.adopting[key] = row.phase
            for effect in pursue(row):
                self.carry_out_for(row, effect)

    def quarantine(self) -> None:
        """The deployment's actor failed too often: its row and the gateway say so, and nothing reaches it any more."""
        state, reason = self.deployment, Reason(code="QUARANTINED", message="its actor failed too often")
        self.deployment = replace(state, phase=Phase.QUARANTINED, reason=reason, revision=state.revision + 1)
        self.save(DEPLOYMENT, self.deployment)
        self.gateway.inbox.append(("route", routing(self.deployment)))

    def resume(self) -> None:
        """The actor is made anew, the tasks' actors are as they were."""
        accepted = {key: row for key, row in [*self.rows.items(), *self.log] if isinstance(row, Task)}
        found, ended = self._met(accepted)
        self.step_deployment(events.Recovered(found, False, ended))

    def restart_gateway(self) -> None:
        self.gateway.restart()
        self._sync()
        self.gateway.inbox.append(("route", routing(self.deployment)))
        for task in self.tasks.values():
            for effect in pursue(task):
                if isinstance(effect, effects.CloseInGateway):
                    self.carry_out_for(task, effect)

    def _sync(self) -> None:
        """What the rows say: a task that is not running by its own is not among them."""
        said = routing(self.rows[DEPLOYMENT])
        rows = (self.rows.get(target.task_id) for target in said.targets)
        running = {row.id for row in rows if row is not None and row.phase is TaskPhase.RUNNING}
        targets = tuple(target for target in said.targets if target.task_id in running)
        self.gateway.inbox.append(("sync", replace(said, targets=targets)))

    # ---- checks --------------------------------------------------------------------------------------------

    def check_rule(self, machine: str, table: Any, before: Any, after: Any, event: object) -> None:
        rule = table[before, type(event)]
        assert after is before or after in rule.leads_to, f"{before} → {after} by {event} is not in the table"
        taken.add((machine, type(event), before, after))

    def check_timer(self, key: str, deadline: datetime | None) -> None:
        """A deadline may lead to another one that has passed too (a grace of nothing), not to ever more."""
        if deadline is None or deadline > self.now:
            self.fired.pop(key, None)
            return
        at, times = self.fired.get(key, (self.now, 0))
        self.fired[key] = (self.now, times + 1 if at == self.now else 1)
        assert self.fired[key][1] <= 3, "a timer that fires for ever"

    def check_start(self, order: effects.StartTask) -> None:
        """What has to go first is gone; a design that was changed meanwhile may have let two live in one place."""
        if not self.deployment.spec.old_goes_first:
            return
        alive = [process for process in self.driver.processes.values() if process.alive]
        there = [process for process in alive if process.slot == order.slot]
        assert all(self.given_up(process.task_id) for process in there), "started before the old one went"

    def request(self) -> None:
        """One from outside, which never reaches what has been told to end, unless its patience was at an end."""
        sent = self.gateway.request(self.now, self.random.choice)
        process = self.driver.processes.get(sent or "")
        if sent is not None and process is not None and process.signalled:
            assert self.excused(self.tasks[sent])

    def check_signal(self, task: Task) -> None:
        """In-flight requests end before the signal, or had their time."""
        assert not self.gateway.inflight.get(task.id) or self.excused(task)

    def excused(self, task: Task) -> bool:
        """The gateway has not heard in time that it is out of balance, or its answer came too late."""
        hurried = task.stop_grace_secs is not None
        unheard = any(order[0] == "sync" or order[:2] == ("close", task.id) for order in self.gateway.inbox)
        return hurried or unheard or task.id in {*self.gateway.draining, *self.gateway.timed_out}

    def given_up(self, task_id: str) -> bool:
        """Its launch took longer than anybody waits."""
        task = self.tasks.get(task_id)
        return task is not None and task.exit is not None and task.exit.unknown

    def check(self) -> None:
        invariants.check_deployment(self.deployment, self.now)


def _buried(task: Task, at: datetime) -> Task:
    return replace(
        task,
        phase=TaskPhase.STOPPED,
        stop_stage=None,
        stop_deadline=None,
        retry_at=None,
        reason=BURIED,
        ended_at=at,
        revision=task.revision + 1,
    )
