"""A deployment made anew from its row meets the tasks that are known. Pure. Handler of the transitions table."""

from __future__ import annotations

from platformd.domain import effects, events, policy
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.failure import task_exited, task_stopping
from platformd.domain.deployment.rollout import STOPPED, phase_of
from platformd.domain.deployment.sleep import born_asleep
from platformd.domain.deployment.state import Deployment, Goal, Member, Phase, Stage, Status
from platformd.domain.snapshot import Reason

HOST_RESTARTED = Reason(code="HOST_RESTARTED", message="the host was restarted")


def recovered(draft: DeploymentDraft, event: events.Recovered) -> None:
    """Reality wins over what was remembered: members are the tasks that are known, and nobody else."""
    before = draft.state
    _leave_quarantine(draft)
    for ended in event.ended:
        if isinstance(ended, events.TaskExited):
            task_exited(draft, ended)
        else:
            task_stopping(draft, ended)
    _meet(draft, event.tasks)
    state = draft.state
    if event.host_restarted and before.members and state.goal is Goal.AWAKE:
        draft.set(reason=HOST_RESTARTED)
    if (
        state.status is Status.PENDING
        and state.spec.replicas == 0
        and state.phase is not Phase.WAITING_FOR_BUILD
    ):
        born_asleep(draft)
    if state.status is Status.RUNNING and not state.current and state.superseded_by is None:
        draft.order(effects.ClaimCurrent())
    if state.yielded_to is not None:
        draft.order(effects.AskForReturn(state.yielded_to))
    for member in (*state.live, *state.lying):
        draft.order(effects.AskTask(member.task_id))
    for member in state.in_stage(Stage.STOPPING):
        draft.order(effects.StopTask(member.task_id, STOPPED, policy.DRAIN))


def _meet(draft: DeploymentDraft, tasks: tuple[events.TaskFound, ...]) -> None:
    """One that lives without our knowing was started for a wake whose row is lost."""
    known = {member.task_id: member for member in draft.state.members}
    strangers = [_member(found) for found in tasks if found.task_id not in known]
    draft.settle_members(*(known[found.task_id] for found in tasks if found.task_id in known), *strangers)
    alive = frozenset(member.slot for member in strangers if member.stage is Stage.STARTING)
    if alive and draft.state.goal is Goal.ASLEEP:
        draft.begin_waking()
    for member in draft.state.in_stage(Stage.FREEZING):  # it says itself which it is
        draft.stage(member, Stage.FROZEN)
    draft.set(resting=draft.state.resting - alive, closing=frozenset())


def _member(found: events.TaskFound) -> Member:
    stage = Stage.STOPPING if found.stopping else Stage.STARTING
    return Member(task_id=found.task_id, slot=found.slot, generation=found.generation, stage=stage)


def _leave_quarantine(draft: DeploymentDraft) -> None:
    state = draft.state
    if state.phase is not Phase.QUARANTINED:
        return
    draft.set(phase=Phase.WAITING_FOR_BUILD if _has_nothing_to_run(state) else phase_of(state))
    if not state.status.final:
        draft.set(reason=None)


def _has_nothing_to_run(state: Deployment) -> bool:
    unborn = state.status is Status.PENDING and state.goal is Goal.AWAKE
    return unborn and state.spec.artifact_id is None and state.spec.image is None
