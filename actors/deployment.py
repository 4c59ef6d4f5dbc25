"""The actor of one deployment: owns its lifecycle and idle timer, its tasks and what the gateway knows of it.

Hears commands from handlers, Wake and idleness from the gateway, facts from its tasks and its timer. Made anew from
its row it first compares what it remembers with the tasks that are known. Runs in turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from actors.address import TIMER as ADDRESS_TIMER
from actors.address import Address, AddressAnswer
from actors.arming import Arming, late_birth
from actors.futures import Pending
from actors.messages import Key, Lane, TimerFired
from actors.snapshot import SnapshotActor
from actors.task import Birth, order_of
from actors.variables import variables_of
from actors.world import World, fault_point
from platformd.domain import commands, effects, events, policy
from platformd.domain.build.messages import Cancel
from platformd.domain.build.verdict import verdict_of
from platformd.domain.deployment import happenings
from platformd.domain.deployment.recovery import HOST_RESTARTED
from platformd.domain.deployment.rollout import UNKNOWN
from platformd.domain.deployment.routing import Routing, routing
from platformd.domain.deployment.state import Deployment, Goal, Phase
from platformd.domain.deployment.transitions import step
from platformd.domain.effects import DeploymentEffect, Moment
from platformd.domain.machine import Step
from platformd.domain.notice import Notice
from platformd.domain.operations import SaveDeployment
from platformd.domain.requests import RequestKey
from platformd.domain.snapshot import Exit
from platformd.domain.task import Task, TaskPhase
from platformd.domain.task.transitions import ending, new_task
from platformd.drivers.base import LaunchOrder
from platformd.errors import NotFound, PreconditionFailed
from platformd.store import building

_AT_REST = (Phase.ASLEEP, Phase.DONE)


class Republish:
    """Tell the gateway all there is to know: it has just been given the rows, which may lag behind."""


class MeetTasks:
    """There may be tasks that its row knows nothing of: a crash can take back the row of a wake."""


@dataclass(frozen=True, slots=True)
class Fired:
    """The gateway has had what was armed started, before anything else was heard of that wake."""

    order: LaunchOrder


class PursueAddress:
    """Its row and its environment's disagree about whom the address leads to: a crash came between them."""


class DeploymentActor(SnapshotActor[Deployment]):
    COMMANDS = (
        commands.Change,
        commands.Restart,
        commands.Cancel,
        commands.KeepAwake,
        commands.Sleep,
    )
    # After `became` the gateway would have given the held the refusal that is meant for those who come later.
    PARTING = (effects.FailHeld,)

    def __init__(self, key: Key, world: World) -> None:
        super().__init__(key, world)
        self._address = Address(key, world)
        self._arming = Arming(world)
        self._told: Routing | None = None
        self._request: RequestKey | None = None

    def receive(self, message: Any) -> Any:
        match message:
            case Republish():
                self._told = None
                self._publish()
            case Fired(order):
                self._fired(self.require(), order)
            case MeetTasks():
                if self.require().phase in _AT_REST:
                    self._meet_tasks()
            case AddressAnswer():
                self._address.answered(self.require(), message)
            case PursueAddress():
                self._address.pursue(self.require())
            case TimerFired() if message.name == ADDRESS_TIMER:
                self._address.pursue(self.require())
            case commands.ForRequest(command, key):
                self._request = key
                try:
                    return self.receive(command)
                finally:
                    self._request = None
            case commands.IfRevision(command, revision):
                present = self.require().revision
                if present != revision:
                    raise PreconditionFailed.of(revision, present)
                return self.receive(command)
            case commands.Wake(by_traffic=False):
                super().receive(message)
                return self._once_stored(self.require())
            case _:
                return super().receive(message)
        return None

    def _once_stored(self, state: Deployment) -> Pending:
        """The answer for who reads next what it says; on a full disk too, since what was asked for has happened."""
        answer = Pending()
        self.commit(state, ()).add_done_callback(lambda _: answer.resolve(state))
        return answer

    def load(self) -> Deployment:
        deployment = self.world.store.deployment(self.key.id)
        if deployment is None:
            raise NotFound(f"there is no deployment {self.key.id}", code="DEPLOYMENT_NOT_FOUND")
        return deployment

    def on_activate(self) -> None:
        """Reality first, and only then the gateway: what the row remembers may be long gone. What was at rest has no
        tasks, unless recovery says that it must look."""
        state = self.load()
        self.begin(state)
        if state.phase is Phase.ASLEEP:
            self._told = routing(state)  # when it fell asleep
        if state.phase not in _AT_REST or state.members:
            self._meet_tasks()
        self._publish()
        if state.phase is Phase.WAITING_FOR_BUILD:
            self._hear_of_builds()
        if not (state.phase is Phase.ASLEEP and state.current):
            self._address.pursue(self.require())

    def _hear_of_builds(self) -> None:
        """What ended while nobody was there to be told."""
        builds = building.builds_of_deployment(self.world.store.reader, self.key.id)
        verdict = verdict_of(builds[0]) if builds else None
        if verdict is not None:
            self.tell_self(verdict)

    def _meet_tasks(self) -> None:
        """Members are the tasks that are known."""
        live = self.world.store.tasks_of(self.key.id, live_only=True)
        found = tuple(_found(task) for task in live)
        unseen = self._ended_unseen({task.id for task in live})
        host_restarted = any(task.reason == HOST_RESTARTED for task in unseen)
        ended = (
            events.TaskExited(task.id, task.exit or Exit(unknown=True), task.asked, task.reason)
            for task in unseen
        )
        stopping = (ending(task) for task in live if task.phase is TaskPhase.STOPPING)
        super().receive(events.Recovered(found, host_restarted, (*ended, *stopping)))

    def _ended_unseen(self, live: set[str]) -> list[Task]:
        """Tasks we remember whose ends are in their rows only."""
        missing = [member.task_id for member in self.require().members if member.task_id not in live]
        return [task for task_id in missing if (task := self.world.store.task(task_id)) is not None]

    def next_id(self, slot: int, /) -> str:
        return self.world.drivers[self.require().spec.process_type].next_id(self.key.id, slot)

    def step(self, state: Deployment, event: object, moment: Moment) -> Step[Deployment, DeploymentEffect]:
        return step(state, event, self._arming.moment(state, event, moment))

    def promises(self, event: object, before: Deployment, after: Deployment, /) -> bool:
        """No task of a generation starts before it is durable what that is. Found out while it is made anew, which
        cannot wait, going back would be found out again."""
        new_generation = after.generation != before.generation and not isinstance(event, events.Recovered)
        return new_generation or isinstance(event, self.COMMANDS)

    def became(self) -> None:
        self._publish()
        self._arming.follow(self.require())

    def _publish(self) -> None:
        """The gateway hears what it was not told yet."""
        now = routing(self.require())
        if self._told != now:
            self.world.traffic.route(self.key.id, self._told, now)
            self._told = now

    def carry_out(self, state: Deployment, effect: DeploymentEffect) -> None:
        fault_point(type(effect).__name__, state.identity.app_name)
        match effect:
            case effects.StartTask():
                self._start(state, effect)
            case effects.StopTask(task_id, reason, drain, grace):
                self._tell_task(task_id, commands.Stop(reason, drain, grace))
            case effects.FreezeTask(task_id, drain):
                self._tell_task(task_id, commands.Freeze(drain))
            case effects.ThawTask(task_id):
                self._tell_task(task_id, commands.Thaw())
            case effects.AskTask(task_id):
                self._tell_task(task_id, commands.Recount())
            case effects.CloseIdle(since, task_ids):
                self.world.traffic.close_idle(state.id, task_ids, since)
            case effects.LookBusy():
                self.world.busy.look(state)
            case effects.RouteAgain():
                self._told = None
                self._publish()
            case effects.FailHeld():
                self.world.traffic.fail_held(state.id, effect)
            case effects.ClaimCurrent():
                self._address.claim(state)
            case effects.ReleaseCurrent():
                self._address.release(state)
            case effects.AskForPort(port):
                self._tell_current(state, events.PortWanted(state.id, port))
            case effects.ReturnPort():
                self._tell_current(state, events.PortReturned(state.id))
            case effects.AskForReturn(by):
                newer = self.world.store.deployment(by)
                if newer is None or newer.status.final:
                    self.tell_self(events.PortReturned(by))
            case effects.AbandonBuilds():
                for build in building.builds_of_deployment(self.world.store.reader, state.id):
                    if not build.state.final:
                        self.world.directory.tell(Key("build", build.id), Cancel(), Lane.FACT)
            case effects.SystemLine(text, task_id):
                self.world.write_line(state.id, task_id, text)

    def _start(self, state: Deployment, order: effects.StartTask) -> None:
        task = new_task(order, state.id, state.identity.app_id, self.moment().at)
        self._tell_task(task.id, Birth(task, order_of(self.world, state, task), variables_of(state)))

    def _fired(self, state: Deployment, order: LaunchOrder) -> None:
        """The wake itself is on its way, or was lost with the gateway. What was changed in the very instant means that
        the task belongs nowhere any more."""
        armed = self.world.arms.of(state.id)
        if any(member.task_id == order.task_id for member in state.members):
            return
        if armed is not None and armed.task_id == order.task_id and state.phase is Phase.ASLEEP:
            super().receive(commands.Wake(by_traffic=True))
            return
        self._tell_task(order.task_id, late_birth(state, order, self.moment()))
        if state.phase is Phase.DONE:
            self._tell_task(order.task_id, commands.Stop(UNKNOWN, policy.DRAIN))

    def _tell_task(self, task_id: str, message: object) -> None:
        self.world.directory.tell(Key("task", task_id), message, Lane.FACT)

    def _tell_current(self, state: Deployment, fact: object) -> None:
        """Tell whom the environment's address leads to, unless that is us."""
        current = self.world.store.current(state.identity.app_id, state.identity.environment).deployment_id
        if current is not None and current != state.id:
            self._tell(current, fact)

    def _tell(self, deployment_id: str, fact: object) -> None:
        self.world.directory.tell(Key("deployment", deployment_id), fact, Lane.FACT)

    def save_behind(self, state: Deployment, notices: Sequence[Notice]) -> None:
        self.world.store.save_behind(state, notices)

    def commit(self, state: Deployment, notices: Sequence[Notice]) -> Future[Any]:
        return self.world.store.commit(SaveDeployment(state, self._request), lambda _: notices)

    def notices(self, before: Deployment, after: Deployment, event: object) -> Sequence[Notice]:
        return happenings.notices(before, after, event)

    def may_passivate(self) -> bool:
        """What sleeps or has ended, with nobody left to hear from, is a row and nothing else."""
        state = self.state
        return state is None or (
            not self._address.asked
            and state.goal is not Goal.AWAKE
            and not state.members
            and state.next_deadline is None
        )

    def describe(self) -> dict[str, Any]:
        state = self.state
        return {} if state is None else {"status": state.status.value, "phase": state.phase.value}


def _found(task: Task) -> events.TaskFound:
    stopping = task.phase is TaskPhase.STOPPING
    return events.TaskFound(task.id, task.slot, task.generation, stopping)
