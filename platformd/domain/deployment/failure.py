"""What the end of a task means for its deployment: rest, back off, sleep, succeed or fail.

Pure. Handlers of the transitions table.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from platformd.domain import effects, events, policy
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.state import Goal, Member, Stage, Status
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import RestartPolicyKind

MAX_RUNTIME = "MAX_RUNTIME"


def task_stopping(draft: DeploymentDraft, event: events.TaskStopping) -> None:
    member = draft.member(event.task_id)
    if member is None:
        return
    draft.stage(member, Stage.STOPPING)
    if event.reason.code == MAX_RUNTIME:
        draft.set(resting=draft.state.resting | {member.slot})


def task_exited(draft: DeploymentDraft, event: events.TaskExited) -> None:
    """The process is gone: decide at once, while what it left behind is still being ended."""
    member = draft.member(event.task_id)
    if member is None:
        return
    draft.stage(member, Stage.ENDING)
    if event.asked or draft.state.goal is not Goal.AWAKE:
        return
    if event.reason is not None and event.reason.code == MAX_RUNTIME:
        _rest(draft, member, event.reason)
    elif event.reason is None and event.exit.clean and not _restarts_always(draft):
        _rest(draft, member, None)
    else:
        _failed(draft, member, explain(draft, event.exit, event.reason), event.reason is not None)
    _fail_held_when_nothing_is_left(draft, event)


def task_ended(draft: DeploymentDraft, event: events.TaskEnded) -> None:
    draft.drop(event.task_id)


def explain(draft: DeploymentDraft, exit: Exit, reason: Reason | None) -> Reason:
    """Why a task failed, in words a person can act on."""
    if reason is not None:
        return reason
    if exit.oom_killed:
        limit = draft.state.spec.resources.memory
        code, message = "OOM_KILLED", f"went beyond its memory limit of {limit}; raise resources.memory"
    elif exit.unknown:
        code, message = "EXIT_UNKNOWN", "ended while nobody was there to see how"
    elif exit.signal is not None:
        code, message = "KILLED_BY_SIGNAL", f"was ended by {exit.signal}"
    else:
        code, message = "EXITED", f"exited with code {exit.code}"
    return Reason(
        code=code, message=message, exit_code=exit.code, signal=exit.signal, last_lines=exit.last_lines
    )


def _restarts_always(draft: DeploymentDraft) -> bool:
    return draft.state.spec.restart.policy is RestartPolicyKind.ALWAYS


def _rest(draft: DeploymentDraft, member: Member, reason: Reason | None) -> None:
    """The slot stays empty; when all slots rest the deployment sleeps, has succeeded or has failed."""
    draft.set(resting=draft.state.resting | {member.slot})
    state = draft.state
    if len(state.resting) < state.target:
        return
    if state.spec.sleeps and reason is None and state.status is Status.PENDING:
        draft.set(status=Status.RUNNING, ever_ready=True)
        draft.order(effects.ClaimCurrent())
    if state.spec.sleeps and draft.state.status is Status.RUNNING:
        draft.head_for(Goal.ASLEEP)
    elif reason is not None:
        draft.finish(Status.FAILED, reason)
    else:
        draft.finish(Status.SUCCEEDED, None)


def _failed(draft: DeploymentDraft, member: Member, reason: Reason, never_began: bool) -> None:
    _count(draft, member)
    state = draft.state
    restart = state.spec.restart
    draft.set(reason=reason, restarts={**state.restarts, member.slot: state.restarts.get(member.slot, 0) + 1})
    if never_began and not state.ever_ready and reason.code != "UNHEALTHY":
        draft.finish(Status.FAILED, reason)
    elif restart.policy is RestartPolicyKind.NEVER:
        _no_more_tries(draft, member, reason)
    elif state.wake_deadline is not None and not state.live and state.spec.sleeps:
        draft.head_for(Goal.ASLEEP)
        _back_off(draft)
    elif len(state.failures) < restart.max_attempts:
        _back_off(draft)
    else:
        _budget_spent(draft, reason)


def _count(draft: DeploymentDraft, member: Member) -> None:
    """One more failure, after forgetting what a long good run has made good."""
    at, state = draft.at, draft.state
    good = member.ready_at is not None and at - member.ready_at >= policy.GOOD_AFTER
    since = at - timedelta(seconds=state.spec.restart.window_secs)
    recent: tuple[datetime, ...] = () if good else tuple(then for then in state.failures if then > since)
    draft.set(attempt=1 if good else state.attempt + 1, failures=(*recent, at))


def _back_off(draft: DeploymentDraft) -> None:
    pause = policy.backoff(draft.state.attempt, draft.moment.jitter)
    draft.set(retry_at=draft.at + pause)


def _budget_spent(draft: DeploymentDraft, reason: Reason) -> None:
    state = draft.state
    if not state.ever_ready:
        draft.finish(Status.FAILED, reason)
    elif state.spec.sleeps and not state.live:
        draft.head_for(Goal.ASLEEP)
        _back_off(draft)
    else:
        draft.set(retry_at=draft.at + policy.SPENT_RETRY)


def _no_more_tries(draft: DeploymentDraft, member: Member, reason: Reason) -> None:
    """Policy `never`: the slot stays empty, and with the last one gone the deployment sleeps or has failed."""
    if not draft.state.ever_ready:
        draft.finish(Status.FAILED, reason)
        return
    draft.set(resting=draft.state.resting | {member.slot})
    if len(draft.state.resting) < draft.state.target:
        return
    if draft.state.spec.sleeps:
        draft.head_for(Goal.ASLEEP)
    else:
        draft.finish(Status.FAILED, reason)


def _fail_held_when_nothing_is_left(draft: DeploymentDraft, event: events.TaskExited) -> None:
    """Requests must not wait for a task that will not come."""
    state = draft.state
    if state.live or (state.goal is Goal.AWAKE and state.retry_at is None):
        return
    reason = explain(draft, event.exit, event.reason)
    draft.order(
        effects.FailHeld(
            status=502,
            code="WAKE_CRASHED",
            detail=f"the app {reason.message} before it could answer",
            retry_at=state.retry_at,
            reason=reason,
        )
    )
