"""The actor of one task: owns its launch, its max runtime and its stop, and tells its deployment.

Hears from its deployment (Birth, Stop), from its driver, the gateway and its timer (facts), and from handlers
(Terminate). Made anew from its row after a restart, it takes its process over. Runs in turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from actors.messages import Key, Lane
from actors.snapshot import SnapshotActor
from actors.variables import opened, speaking_of, variables_of
from actors.world import World
from platformd.domain import commands, effects, events
from platformd.domain.deployment.state import Deployment
from platformd.domain.effects import Moment, TaskEffect
from platformd.domain.machine import Step
from platformd.domain.notice import Notice
from platformd.domain.operations import SaveTask
from platformd.domain.snapshot import Reason
from platformd.domain.task import StopStage, Task, TaskPhase, happenings
from platformd.domain.task.transitions import pursue, step
from platformd.domain.variables import Variables
from platformd.drivers.base import Driver, LaunchOrder
from platformd.errors import NotFound
from platformd.secrets import SecretUnreadable


@dataclass(frozen=True, slots=True)
class Birth:
    """The first message of a new task: what it is, what to start, and with which variables, secrets sealed."""

    task: Task
    order: LaunchOrder
    variables: Variables


class TaskActor(SnapshotActor[Task]):
    COMMANDS = (commands.Terminate,)
    _order: LaunchOrder
    _variables: Variables

    def receive(self, message: Any) -> Any:
        if isinstance(message, Birth):
            return self._born(message)
        return super().receive(message)

    def _born(self, birth: Birth) -> None:
        if self.state is not None:
            return
        self._order, self._variables = birth.order, birth.variables
        self.begin(birth.task)
        if self._driver.intent_first:
            # Whatever becomes of the row: a container bears its task's name, so it is found without it.
            self.commit(birth.task, ()).add_done_callback(lambda _: self.tell_self(commands.Launch()))
            return
        self.save_behind(birth.task, ())
        super().receive(commands.Launch())

    def on_activate(self) -> None:
        """A row means this actor is made anew: take over what lives. A new task has none until its Birth."""
        if isinstance(self.actor_inbox.waiting_fact(), Birth):
            return
        task = self.world.store.task(self.key.id)
        if task is None:
            return
        deployment = self._deployment_of(task)
        self._order, self._variables = order_of(self.world, deployment, task), variables_of(deployment)
        self.begin(task)
        if task.phase not in (TaskPhase.PENDING, TaskPhase.STOPPED, TaskPhase.FAILED):
            self._driver.adopt(task, self._order)
        for effect in pursue(task):
            self.carry_out(task, effect)

    def load(self) -> Task:
        raise NotFound(f"there is no task {self.key.id}", code="TASK_NOT_FOUND")

    def step(self, state: Task, event: object, moment: Moment) -> Step[Task, TaskEffect]:
        return step(state, self._order.spec, event, moment)

    def promises(self, event: object, before: Task, after: Task, /) -> bool:
        """No signal before it is durable that the task ends: after a crash in between it would be served as before."""
        signalled = after.stop_stage is StopStage.SIGNALLED and before.stop_stage is not StopStage.SIGNALLED
        return signalled or super().promises(event, before, after)

    def carry_out(self, state: Task, effect: TaskEffect) -> None:
        match effect:
            case effects.LaunchTask():
                self._launch(state)
            case effects.CloseInGateway(drain, for_good):
                self.world.traffic.close(state.deployment_id, state.id, drain, for_good)
            case effects.Freeze():
                self._driver.freeze(state)
            case effects.Thaw():
                self._driver.thaw(state)
            case effects.Signal(signal):
                self._driver.signal(state, signal)
            case effects.Kill():
                self._driver.kill(state)
            case effects.Sweep():
                self._driver.sweep(state)
            case effects.Forget():
                self._driver.forget(state)
            case effects.Report(fact):
                self.world.directory.tell(Key("deployment", state.deployment_id), fact, Lane.FACT)

    def _launch(self, state: Task) -> None:
        """Only here are secrets in the clear: what is kept, told or written down has them sealed."""
        try:
            env = opened(self.world.vault, state.app_id, self._variables)
        except SecretUnreadable as error:
            self.tell_self(events.LaunchFailed(Reason(code=error.code, message=error.message)))
            return
        with speaking_of(self._variables, env):
            self._driver.launch(replace(self._order, env=env))

    def _deployment_of(self, task: Task) -> Deployment:
        deployment = self.world.store.deployment(task.deployment_id)
        if deployment is None:
            raise NotFound(f"task {task.id} belongs to an unknown deployment {task.deployment_id}")
        return deployment

    @property
    def _driver(self) -> Driver:
        return self.world.drivers[self._order.spec.process_type]

    def save_behind(self, state: Task, notices: Sequence[Notice]) -> None:
        self.world.store.save_behind(state, notices)

    def commit(self, state: Task, notices: Sequence[Notice]) -> Future[Any]:
        return self.world.store.commit(SaveTask(snapshot=state), lambda _: notices)

    def notices(self, before: Task, after: Task, _: object) -> Sequence[Notice]:
        return happenings.notices(before, after)

    def may_passivate(self) -> bool:
        return self.state is None or self.state.phase.final

    def describe(self) -> dict[str, Any]:
        if self.state is None:
            return {}
        parent = str(Key("deployment", self.state.deployment_id))
        return {"parent": parent, "state": self.state.phase.value, "slot": self.state.slot}


def order_of(world: World, deployment: Deployment, task: Task) -> LaunchOrder:
    """What starts `task` of `deployment`: the specification of the task's own generation."""
    identity, spec = deployment.identity, deployment.spec_of(task.generation)
    return LaunchOrder(
        task_id=task.id,
        deployment_id=deployment.id,
        slot=task.slot,
        generation=task.generation,
        app_name=identity.app_name,
        environment=identity.environment,
        spec=spec,
        executable=None if spec.artifact_id is None else world.executable(spec.artifact_id),
        app_id=identity.app_id,
        image_digest=None if spec.image is None else deployment.digests.get(spec.image),
    )
