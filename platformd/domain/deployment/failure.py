"""What the end of a task means for its deployment: rest, back off, sleep, succeed or fail.

Pure. Handlers of the transitions table. An end is judged once: when the task leaves the ones meant to serve without
having been asked to.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from platformd.domain import effects, events, policy
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.going_back import go_back
from platformd.domain.deployment.resting import all_rest, rest, sleep_or_finish
from platformd.domain.deployment.state import Deployment, Goal, Member, Stage, Status
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import RestartPolicyKind

MAX_RUNTIME = "MAX_RUNTIME"


def task_stopping(draft: DeploymentDraft, event: events.TaskStopping) -> None:
    """Its end has begun. Nobody need wait until it is over to know what that means."""
    member = draft.member(event.task_id)
    if member in draft.state.lying:
        draft.stage(member, Stage.STOPPING)
        return
    if member is None or member not in draft.state.live:
        return
    draft.forgive(member)
    draft.stage(member, Stage.STOPPING)
    if event.asked or draft.state.goal is not Goal.AWAKE or _has_successor(draft, member):
        return
    if event.reason.code == MAX_RUNTIME:
        _outlived(draft, member, event.reason)
    else:
        failed(draft, member, event.reason)


def task_exited(draft: DeploymentDraft, event: events.TaskExited) -> None:
    """The process is gone: decide at once, while what it left behind is still being ended."""
    member = draft.member(event.task_id)
    if member is None:
        return
    was_meant_to_live = member in draft.state.live
    if was_meant_to_live:
        draft.forgive(member)
    if member in draft.state.lying:
        _ended_in_its_sleep(draft, event)
    draft.stage(member, Stage.ENDING)
    if event.asked or not was_meant_to_live or draft.state.goal is not Goal.AWAKE:
        return
    if _has_successor(draft, member):
        return
    reason = explain(draft.state, event.exit, event.reason)
    if reason.code == MAX_RUNTIME:
        _outlived(draft, member, reason)
    elif event.reason is None and event.exit.clean and not _restarts(draft, RestartPolicyKind.ALWAYS):
        _ended_well(draft, member, reason)
    else:
        failed(draft, member, reason, began=event.reason is None)


def _ended_in_its_sleep(draft: DeploymentDraft, event: events.TaskExited) -> None:
    """Killed from outside, or for want of memory; the next wake starts another one."""
    reason = explain(draft.state, event.exit, event.reason)
    draft.order(effects.SystemLine(f"task ended while it was frozen: {reason.message}", event.task_id))


def task_ended(draft: DeploymentDraft, event: events.TaskEnded) -> None:
    """Nothing is left of it. An end whose exit was never heard of is not judged by guessing."""
    state = draft.state
    if draft.member(event.task_id) in (*state.live, *state.lying):
        draft.order(effects.AskTask(event.task_id))
    else:
        draft.drop(event.task_id)


def failed(draft: DeploymentDraft, member: Member, reason: Reason, began: bool = True) -> None:
    """Try again after a pause, unless that is no use, forbidden, or the next request's business."""
    if draft.state.goal is not Goal.AWAKE:
        return
    if draft.state.is_outdated(member):
        draft.order(
            effects.SystemLine(f"task failed: {reason.message}; it was to be replaced", member.task_id)
        )
        return
    _count(draft)
    restarts = draft.state.restarts
    draft.set(reason=reason, restarts={**restarts, member.slot: restarts.get(member.slot, 0) + 1})
    state = draft.state
    spent = len(state.failures) > state.spec.restart.max_attempts
    never = _restarts(draft, RestartPolicyKind.NEVER)
    good = state.good_design
    if good is not None and (not began or never or spent):
        draft.order(effects.SystemLine(f"task failed: {reason.message}", member.task_id))
        go_back(draft, good, reason)
        return
    if not state.ever_ready and (not began or never or spent):
        draft.finish(Status.FAILED, reason)
    elif never:
        rest(draft, member, reason)
        sleep_or_finish(draft, Status.FAILED, reason)
        if all_rest(draft) and not draft.state.status.final:
            _back_off(draft)
    else:
        asleep = state.spec.sleeps and not state.live and (spent or state.wake_deadline is not None)
        _back_off(draft, policy.SPENT_RETRY if spent and not asleep else None)
        if asleep:
            draft.head_for(Goal.ASLEEP)
    _tell_people(draft, member, reason)
    _fail_held(draft, member, reason)


def explain(state: Deployment, exit: Exit, reason: Reason | None) -> Reason:
    """Why a task ended, in words a person can act on."""
    if reason is not None:
        return reason
    if exit.oom_killed:
        limit = state.spec.resources.memory
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


def _has_successor(draft: DeploymentDraft, member: Member) -> bool:
    """The end of a task whose place is being taken means nothing."""
    state = draft.state
    return state.is_outdated(member) and any(other.slot == member.slot for other in state.live)


def _restarts(draft: DeploymentDraft, policy_kind: RestartPolicyKind) -> bool:
    return draft.state.spec.restart.policy is policy_kind


def _ended_well(draft: DeploymentDraft, member: Member, reason: Reason) -> None:
    """Before it was ready that counts as ready."""
    rest(draft, member, None)
    state = draft.state
    over = state.reason if state.reason is not None and state.reason.code == MAX_RUNTIME else None
    if state.spec.sleeps and state.status is Status.PENDING and all_rest(draft):
        draft.set(status=Status.RUNNING, ever_ready=True, reason=None)
        draft.order(effects.ClaimCurrent())
    sleep_or_finish(draft, Status.FAILED if over else Status.SUCCEEDED, over)
    _fail_held(draft, member, reason)


def _outlived(draft: DeploymentDraft, member: Member, reason: Reason) -> None:
    """It ran for as long as it may: not again before traffic comes."""
    if draft.state.status is Status.PENDING:
        draft.finish(Status.FAILED, reason)
    else:
        rest(draft, member, reason)
        sleep_or_finish(draft, Status.FAILED, reason)
    _fail_held(draft, member, reason)


def _count(draft: DeploymentDraft) -> None:
    """One more failure, unless the next start is still to come after an earlier one."""
    at, state = draft.at, draft.state
    if state.retry_at is not None:
        return
    since = at - timedelta(seconds=state.spec.restart.window_secs)
    recent: tuple[datetime, ...] = tuple(then for then in state.failures if then > since)
    draft.set(attempt=state.attempt + 1, failures=(*recent, at))


def _back_off(draft: DeploymentDraft, pause: timedelta | None = None) -> None:
    if draft.state.retry_at is None:
        pause = pause or policy.backoff(draft.state.attempt, draft.moment.jitter)
        draft.set(retry_at=draft.at + pause)


def _tell_people(draft: DeploymentDraft, member: Member, reason: Reason) -> None:
    state = draft.state
    if state.retry_at is None:
        what_next = "it is not started again"
    else:
        wait = (state.retry_at - draft.at).total_seconds()
        who = "a request may start it again" if state.goal is Goal.ASLEEP else "next try"
        what_next = f"{who} in {wait:.1f} s"
    draft.order(effects.SystemLine(f"task failed: {reason.message}; {what_next}", member.task_id))


def _fail_held(draft: DeploymentDraft, member: Member, reason: Reason) -> None:
    """Requests must not wait for a task that will not come. After one that served and ended well they wake another."""
    state = draft.state
    if state.live or (state.goal is Goal.AWAKE and state.retry_at is None):
        return
    if member.stage is Stage.READY and state.retry_at is None:
        return
    detail = "the app ended before it could answer"
    draft.order(
        effects.FailHeld(502, "WAKE_CRASHED", detail, retry_at=state.retry_at, phase=None, reason=reason)
    )
