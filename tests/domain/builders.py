"""Values that scenario tests start from, and a way of telling a story: events at seconds, one after the other."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from platformd.domain import commands, effects, events
from platformd.domain.deployment import transitions as deployments
from platformd.domain.deployment.state import Deployment, Identity, Phase
from platformd.domain.effects import Moment
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import DeploymentSpec, Networking, Protocol
from platformd.domain.task import Task
from platformd.domain.task import transitions as tasks

START = datetime(2026, 1, 1, tzinfo=UTC)
ADDRESS = ("127.0.0.1", 20000)
CRASH = Exit(code=3, last_lines=("boom",))
CLEAN = Exit(code=0)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def native(**changes: Any) -> DeploymentSpec:
    """A native app; `replicas` and the like as given."""
    return replace(DeploymentSpec(artifact_id="artifact"), **changes)


def job(**changes: Any) -> DeploymentSpec:
    """A worker or job: protocol none."""
    return native(networking=Networking(protocol=Protocol.NONE), **changes)


def identity(version: int = 1) -> Identity:
    return Identity(
        id="d",
        app_id="a",
        app_name="shop",
        namespace="default",
        environment="development",
        version=version,
        sha="0a1b2c3d",
        preview_host="shop-0a1b2c3d-development.localhost",
        created_at=START,
    )


def created(spec: DeploymentSpec, **changes: Any) -> Deployment:
    """The row as the store inserts it."""
    waits = spec.artifact_id is None and spec.image is None
    wanted = spec.awake_replicas
    row = Deployment(
        identity=identity(),
        spec=spec,
        phase=Phase.WAITING_FOR_BUILD if waits else Phase.STARTING,
        full=wanted,
        target=wanted,
        progress_deadline=None if waits else after(spec.progress_deadline_secs),
        updated_at=START,
    )
    return replace(row, **changes)


class Story:
    """One deployment through time; `effects` are those of the last telling."""

    def __init__(self, spec: DeploymentSpec, jitter: float = 0.0, **changes: Any) -> None:
        self.state = created(spec, **changes)
        self.now = 0.0
        self.jitter = jitter
        self.effects: tuple[Any, ...] = ()
        self._ids = (f"t{number}" for number in itertools.count())

    def tell(self, event: object, at: float | None = None) -> Deployment:
        """The event, `at` seconds after the start (the same instant as before when left out)."""
        self.now = self.now if at is None else at
        moment = Moment(after(self.now), self.jitter, lambda _: next(self._ids))
        result = deployments.step(self.state, event, moment)
        self.state, self.effects = result.state, result.effects
        return self.state

    def time(self, at: float) -> Deployment:
        """The timer fires as often as the deployment asks up to `at`, then stands there."""
        collected: list[Any] = []
        while (deadline := self.state.next_deadline) is not None and deadline <= after(at):
            self.tell(events.TimerElapsed(), max(self.now, (deadline - START).total_seconds()))
            collected += self.effects
            assert self.state.next_deadline is None or self.state.next_deadline > after(self.now)
        self.now, self.effects = at, tuple(collected)
        return self.state

    def of(self, kind: type) -> list[Any]:
        """The last effects of one kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def started(self) -> list[str]:
        return [order.task_id for order in self.of(effects.StartTask)]

    @property
    def stopped(self) -> list[str]:
        return [order.task_id for order in self.of(effects.StopTask)]

    # What often happens

    def ready(self, *task_ids: str, at: float | None = None) -> Deployment:
        for task_id in task_ids:
            self.tell(events.TaskReady(task_id, ADDRESS), at)
        return self.state

    def exits(
        self, task_id: str, exit: Exit = CRASH, at: float | None = None, reason: Reason | None = None
    ) -> Deployment:
        """By itself; `effects` are those of the exit, its end follows."""
        self.tell(events.TaskExited(task_id, exit, reason=reason), at)
        told = self.effects
        self.tell(events.TaskEnded(task_id))
        self.effects = told + self.effects
        return self.state

    def ends(self, *task_ids: str, at: float | None = None) -> Deployment:
        """As it was asked to."""
        for task_id in task_ids:
            self.tell(events.TaskExited(task_id, Exit(signal="SIGTERM"), asked=True), at)
            self.tell(events.TaskEnded(task_id))
        return self.state

    @classmethod
    def running(cls, spec: DeploymentSpec, at: float = 0.0, **changes: Any) -> Story:
        """All its tasks have been ready since `at`."""
        story = cls(spec, **changes)
        story.tell(events.Created(), at)
        story.ready(*story.started)
        story.tell(events.BecameCurrent())
        return story

    @classmethod
    def asleep(cls, spec: DeploymentSpec, at: float = 0.0) -> Story:
        """It was ready, and was then put to sleep."""
        story = cls.running(spec, at)
        members = [member.task_id for member in story.state.members]
        story.tell(commands.Sleep())
        story.ends(*members)
        return story


class TaskStory:
    """One task through time; `effects` are those of the last telling, `reports` what its deployment has heard."""

    def __init__(self, spec: DeploymentSpec | None = None, **changes: Any) -> None:
        self.spec = spec or native()
        task = Task(
            id="t", deployment_id="d", app_id="a", slot=0, generation=1, created_at=START, updated_at=START
        )
        self.state = replace(task, **changes)
        self.now = 0.0
        self.effects: tuple[Any, ...] = ()
        self.reports: list[Any] = []

    def tell(self, event: object, at: float | None = None) -> Task:
        self.now = self.now if at is None else at
        result = tasks.step(self.state, self.spec, event, Moment(after(self.now), 0.0, lambda _: "new"))
        self.state = result.state
        self.reports += [effect.fact for effect in result.effects if isinstance(effect, effects.Report)]
        self.effects = tuple(effect for effect in result.effects if not isinstance(effect, effects.Report))
        return self.state

    def time(self, at: float) -> Task:
        """The timer fires as often as the task asks up to `at`."""
        collected: list[Any] = []
        while (deadline := self.state.next_deadline) is not None and deadline <= after(at):
            self.tell(events.TimerElapsed(), max(self.now, (deadline - START).total_seconds()))
            collected += self.effects
            assert self.state.next_deadline is None or self.state.next_deadline > after(self.now)
        self.now, self.effects = at, tuple(collected)
        return self.state

    @classmethod
    def running(cls, spec: DeploymentSpec | None = None, at: float = 0.0) -> TaskStory:
        story = cls(spec)
        story.tell(commands.Launch(), at)
        story.tell(events.Launched({"pid": 7}, after(at), pid=7, address=ADDRESS))
        story.tell(events.Probed(ADDRESS))
        return story
