"""The working copy of a deployment that transition handlers share: small, named changes to it.

Pure. Used by the modules of this package only.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from platformd.domain import effects, policy
from platformd.domain.deployment.state import Deployment, Goal, Member, Phase, Stage, Status
from platformd.domain.effects import DeploymentEffect
from platformd.domain.machine import Draft
from platformd.domain.snapshot import Reason
from platformd.domain.spec import DeploymentSpec


class DeploymentDraft(Draft[Deployment, DeploymentEffect]):
    """A deployment being worked on."""

    __slots__ = ()

    def member(self, task_id: str) -> Member | None:
        return next((member for member in self.state.members if member.task_id == task_id), None)

    def put(self, member: Member) -> None:
        """Replace the member of that task, or add it."""
        self.settle_members(
            *(known for known in self.state.members if known.task_id != member.task_id), member
        )

    def settle_members(self, *members: Member) -> None:
        """These are the members, and nobody else."""
        self.set(members=tuple(sorted(members, key=lambda known: (known.slot, known.generation))))

    def drop(self, task_id: str) -> None:
        self.set(members=tuple(member for member in self.state.members if member.task_id != task_id))

    def stage(self, member: Member, stage: Stage) -> None:
        self.put(replace(member, stage=stage))

    def stop(self, member: Member, reason: Reason) -> None:
        """Order the task's end; it knows itself whether there is anything to drain."""
        self.stage(member, Stage.STOPPING)
        self.order(effects.StopTask(member.task_id, reason, policy.DRAIN))

    def freeze(self, member: Member) -> None:
        """Have it stand still; when it was ready no longer counts."""
        self.put(replace(member, stage=Stage.FREEZING, ready_at=None))
        self.order(effects.FreezeTask(member.task_id, policy.DRAIN))

    def thaw(self, member: Member) -> None:
        """Have it go on; it says when it is ready, which is at once."""
        self.put(replace(member, stage=Stage.STARTING, ready_at=None))
        self.order(effects.ThawTask(member.task_id))

    def head_for(self, goal: Goal) -> None:
        """Turn towards `goal`, leaving behind what belonged to the way to another one."""
        self.forgive(*self.state.live)
        self.set(goal=goal, wake_deadline=None, idle_deadline=None, quiet_since=None, closing=frozenset())
        self.set(look_at=None, looked_at=None, busy=None)
        if goal is not Goal.AWAKE:
            self.set(progress_deadline=None, lease_until=None)
        if goal is Goal.FINISHED:
            self.set(retry_at=None)

    def idle_since(self, since: datetime) -> None:
        """The last known activity ended then; a question to the gateway no longer stands."""
        self.set(quiet_since=since, idle_deadline=self.state.idle_after(since), closing=frozenset())

    def forgive(self, *leaving: Member) -> None:
        """A task that was good for long makes good the failures before it."""
        if any(member.ready_at and self.at - member.ready_at >= policy.GOOD_AFTER for member in leaving):
            self.set(attempt=0, failures=())

    def finish(self, status: Status, reason: Reason | None) -> None:
        """Final: stop everything and give the address back."""
        if self.state.phase is Phase.WAITING_FOR_BUILD:
            self.order(effects.AbandonBuilds())
        self.set(status=status, reason=reason)
        self.head_for(Goal.FINISHED)
        if self.state.current:
            self.set(current=False)
            self.order(effects.ReleaseCurrent())
        elif self.state.spec.networking.port is not None:
            self.order(effects.ReturnPort())

    def redesign(self, spec: DeploymentSpec, origin: int | None = None) -> None:
        """A new generation, whose tasks are made by `spec`; those there are stay what they are.

        `origin` names an earlier generation that this one goes back to. What failed before counts no more.
        """
        state = self.state
        generation = state.generation + 1
        self.set(
            former=(*state.former, state.design),
            last_good=state.last_good or (state.origin if state.ever_ready else 0),
            generation=generation,
            since=generation,
            origin=origin or generation,
            spec=spec,
            attempt=0,
            failures=(),
            retry_at=None,
        )

    def refuse_if_finished(self, verb: str) -> None:
        self.state.refuse_if_finished(verb)

    def begin_waking(self, waited: timedelta = timedelta(0)) -> None:
        """From asleep towards awake: all slots may start, within the wake's time limit, of which `waited` is over."""
        spec = self.state.spec
        self.head_for(Goal.AWAKE)
        self.set(
            resting=frozenset(),
            retry_at=None,
            reason=None,
            target=min(spec.wake.replicas or self.state.full, self.state.full),
        )
        if spec.sleeps:
            self.set(wake_deadline=self.at - waited + timedelta(seconds=spec.wake.timeout_secs))
