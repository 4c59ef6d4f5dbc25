"""What the passing of time means for a deployment. Pure. Handler of the transitions table."""

from __future__ import annotations

from platformd.domain import effects, events, policy
from platformd.domain.deployment import keeping, sleep
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.failure import failed
from platformd.domain.deployment.going_back import go_back
from platformd.domain.deployment.rollout import LONG_ASLEEP
from platformd.domain.deployment.state import Deployment, Goal, Status
from platformd.domain.snapshot import Reason


def time_elapsed(draft: DeploymentDraft, event: events.TimerElapsed) -> None:
    """Which deadlines have passed? Each is looked at again, so a late or doubled firing is harmless."""
    if draft.passed(draft.state.progress_deadline):
        _missed_progress(draft)
    if draft.passed(draft.state.wake_deadline):
        _missed_wake(draft)
    if draft.passed(draft.state.retry_at):
        draft.set(retry_at=None)
    if draft.passed(draft.state.idle_deadline):
        _idle_long_enough(draft)
    if draft.passed(draft.state.look_at):
        keeping.look(draft)
    if draft.passed(draft.state.thaw_deadline):
        sleep.end_lying(draft, LONG_ASLEEP)


def _missed_progress(draft: DeploymentDraft) -> None:
    """The first start has failed, a roll goes back; any other start is given up and tried again like any failure."""
    state = draft.state
    limit = f"{state.spec.progress_deadline_secs:g} s"
    ready = f"{state.tasks_ready} of {state.tasks_total} tasks were ready"
    reason = Reason(code="PROGRESS_DEADLINE", message=f"{ready} within {limit}{_waiting_for(state)}")
    draft.set(progress_deadline=None)
    if state.status is Status.PENDING:
        draft.finish(Status.FAILED, reason)
        return
    if state.good_design is not None:
        go_back(draft, state.good_design, reason)
        return
    stuck = [member for member in state.live if member.ready_at is None]
    for member in stuck:
        draft.stop(member, reason)
    for member in stuck:
        failed(draft, member, reason)


def _missed_wake(draft: DeploymentDraft) -> None:
    """Whoever is held hears of it, and what does not listen is ended."""
    state = draft.state
    phase, limit = state.phase.value, f"{state.spec.wake.timeout_secs:g} s"
    message = f"no task was ready within {limit}; phase: {phase}{_waiting_for(state)}"
    reason = Reason(code="WAKE_TIMEOUT", message=message)
    draft.order(effects.FailHeld(504, "WAKE_TIMEOUT", message, phase=phase, reason=reason))
    draft.head_for(Goal.ASLEEP)
    draft.set(reason=reason)


def _waiting_for(state: Deployment) -> str:
    return f": {state.reason.message}" if state.reason else ""


def _idle_long_enough(draft: DeploymentDraft) -> None:
    """Only the gateway knows whether it really is idle. Without an answer it is asked again."""
    state = draft.state
    ready = tuple(member.task_id for member in state.ready)
    if ready and state.quiet_since is not None and not keeping.knows(draft):
        keeping.look(draft)
        draft.set(idle_deadline=draft.at + policy.IDLE_ANSWER_WITHIN)
    elif ready and state.quiet_since is not None:
        draft.set(closing=frozenset(ready), idle_deadline=draft.at + policy.IDLE_ANSWER_WITHIN)
        draft.order(effects.CloseIdle(state.quiet_since, ready))
    elif state.coming_up:
        draft.set(quiet_since=None, idle_deadline=None)
    else:
        draft.head_for(Goal.ASLEEP)
