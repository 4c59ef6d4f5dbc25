"""Falling asleep and waking up. Pure. Handlers of the transitions table."""

from __future__ import annotations

from datetime import timedelta

from platformd.domain import commands, effects, events, policy
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.rollout import FELL_ASLEEP
from platformd.domain.deployment.state import Goal, Stage, Status
from platformd.domain.snapshot import Reason
from platformd.errors import Unavailable


def wake(draft: DeploymentDraft, event: commands.Wake) -> None:
    """From asleep, also while the last tasks are still ending."""
    draft.begin_waking()
    if not draft.state.spec.old_goes_first:
        return
    for member in draft.state.in_stage(Stage.STOPPING):
        hurry = effects.StopTask(member.task_id, FELL_ASLEEP, timedelta(0), policy.EXCLUSIVE_WAKE_GRACE)
        draft.order(hurry)


def wake_while_backing_off(draft: DeploymentDraft, event: commands.Wake) -> None:
    """Too early: whoever asks is told when to come back."""
    retry_at = draft.state.retry_at
    if draft.state.goal is Goal.ASLEEP and draft.passed(retry_at):
        wake(draft, event)
        return
    wait = max(1, round((retry_at - draft.at).total_seconds())) if retry_at else 1
    message = f"the app keeps crashing; it may start again in {wait} s"
    if not event.by_traffic:
        raise Unavailable(message, code="BACKING_OFF", retry_after=wait)
    draft.order(effects.FailHeld(503, "BACKING_OFF", message, retry_at=retry_at, reason=draft.state.reason))


def wake_when_draining(draft: DeploymentDraft, event: commands.Wake) -> None:
    """Draining towards sleep it can turn round; towards its end it cannot."""
    if draft.state.goal is Goal.FINISHED:
        refuse_finished(draft, event)
    elif draft.state.retry_at is not None:
        wake_while_backing_off(draft, event)
    else:
        wake(draft, event)


def refuse_finished(draft: DeploymentDraft, event: commands.Wake) -> None:
    if event.by_traffic:
        status = draft.state.status
        draft.order(effects.FailHeld(503, "NO_DEPLOYMENT", f"this deployment has {_ended(status)}"))


def _ended(status: Status) -> str:
    return "been cancelled" if status is Status.CANCELLED else status.value


def fall_asleep(draft: DeploymentDraft, event: object) -> None:
    """Asked to sleep, or found idle: the gateway has closed what was found idle, the rest drains."""
    if isinstance(event, events.IdleClosed):
        for member in draft.state.ready:
            draft.stop(member, FELL_ASLEEP, timedelta(0))
    draft.head_for(Goal.ASLEEP)
    draft.set(retry_at=None)


def went_quiet(draft: DeploymentDraft, event: events.WentQuiet) -> None:
    if not draft.state.spec.sleeps or not draft.state.ready:
        return
    timeout = timedelta(seconds=draft.state.spec.idle_timeout_secs)
    draft.set(quiet_since=event.since, idle_deadline=event.since + timeout)


def time_elapsed(draft: DeploymentDraft, event: events.TimerElapsed) -> None:
    """Which deadlines have passed? Each is looked at again, so a late or doubled firing is harmless."""
    state = draft.state
    if draft.passed(state.progress_deadline):
        _missed_progress(draft)
    if draft.passed(draft.state.wake_deadline):
        _missed_wake(draft)
    if draft.passed(draft.state.retry_at):
        draft.set(retry_at=None)
    if draft.passed(draft.state.idle_deadline):
        _ask_gateway(draft)


def _ask_gateway(draft: DeploymentDraft) -> None:
    since = draft.state.quiet_since
    draft.set(idle_deadline=None)
    if since is not None and draft.state.ready:
        draft.order(effects.CloseIdle(since, tuple(member.task_id for member in draft.state.ready)))


def _missed_progress(draft: DeploymentDraft) -> None:
    state = draft.state
    waiting_for = f": {state.reason.message}" if state.reason else ""
    limit = f"{state.spec.progress_deadline_secs:g} s"
    message = f"{state.tasks_ready} of {state.tasks_total} tasks were ready within {limit}{waiting_for}"
    reason = Reason(code="PROGRESS_DEADLINE", message=message)
    if state.status is Status.PENDING:
        draft.finish(Status.FAILED, reason)
    else:
        draft.set(progress_deadline=None, reason=reason)


def _missed_wake(draft: DeploymentDraft) -> None:
    state = draft.state
    phase = state.phase.value
    limit = f"{state.spec.wake.timeout_secs:g} s"
    message = f"no task was ready within {limit}; phase: {phase}"
    reason = Reason(code="WAKE_TIMEOUT", message=message)
    draft.order(effects.FailHeld(504, "WAKE_TIMEOUT", message, phase=phase, reason=reason))
    draft.head_for(Goal.ASLEEP)
    draft.set(reason=reason)
