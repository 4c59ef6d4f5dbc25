"""The working copy of a deployment that transition handlers share: small, named changes to it.

Pure. Used by `transitions`, `rollout`, `sleep` and `failure` of this package only.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from platformd.domain import effects, policy
from platformd.domain.deployment.state import Deployment, Goal, Member, Stage, Status
from platformd.domain.effects import DeploymentEffect
from platformd.domain.machine import Draft
from platformd.domain.snapshot import Reason


class DeploymentDraft(Draft[Deployment, DeploymentEffect]):
    """A deployment being worked on."""

    __slots__ = ()

    @property
    def at(self) -> datetime:
        return self.moment.at

    def passed(self, deadline: datetime | None) -> bool:
        return deadline is not None and self.at >= deadline

    def member(self, task_id: str) -> Member | None:
        return next((member for member in self.state.members if member.task_id == task_id), None)

    def put(self, member: Member) -> None:
        """Replace the member of that task, or add it."""
        others = [known for known in self.state.members if known.task_id != member.task_id]
        ordered = sorted([*others, member], key=lambda known: (known.slot, known.generation))
        self.set(members=tuple(ordered))

    def drop(self, task_id: str) -> None:
        self.set(members=tuple(member for member in self.state.members if member.task_id != task_id))

    def stage(self, member: Member, stage: Stage) -> None:
        self.put(replace(member, stage=stage))

    def stop(self, member: Member, reason: Reason, drain: timedelta = policy.DRAIN) -> None:
        """Order the task's end; a task that never was ready has nothing to drain."""
        self.stage(member, Stage.STOPPING)
        worth_draining = drain if member.ready_at is not None else timedelta(0)
        self.order(effects.StopTask(member.task_id, reason, worth_draining))

    def head_for(self, goal: Goal) -> None:
        """Turn towards `goal`, leaving behind what belonged to the way to another one."""
        self.set(goal=goal, wake_deadline=None, idle_deadline=None, quiet_since=None)
        if goal is not Goal.AWAKE:
            self.set(progress_deadline=None)
        if goal is Goal.FINISHED:
            self.set(retry_at=None)

    def finish(self, status: Status, reason: Reason | None) -> None:
        """Final: stop everything and give the address back."""
        self.set(status=status, reason=reason)
        self.head_for(Goal.FINISHED)
        if self.state.current:
            self.set(current=False)
            self.order(effects.ReleaseCurrent())
        if status is Status.FAILED:
            self.order(effects.ReturnPort())

    def begin_waking(self) -> None:
        """From asleep towards awake: all slots may start, within the wake's time limit."""
        wake = self.state.spec.wake
        self.head_for(Goal.AWAKE)
        self.set(
            resting=frozenset(),
            retry_at=None,
            reason=None,
            target=min(wake.replicas or self.state.full, self.state.full),
            wake_deadline=self.at + timedelta(seconds=wake.timeout_secs),
        )
