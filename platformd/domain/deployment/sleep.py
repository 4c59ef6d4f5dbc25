"""Falling asleep and waking up. Pure. Handlers of the transitions table."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from datetime import timedelta

from platformd.domain import commands, effects, events, policy
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.rollout import FELL_ASLEEP, MEMORY_SHORT, UNKNOWN
from platformd.domain.deployment.routing import refusal
from platformd.domain.deployment.state import Goal, Member, Stage, Status
from platformd.domain.snapshot import Reason
from platformd.domain.spec import SleepMode
from platformd.errors import Unavailable


def wake(draft: DeploymentDraft, event: commands.Wake) -> None:
    """Whoever asks in vain is told why: requests by an answer, callers by an error."""
    if draft.passed(draft.state.retry_at):
        draft.set(retry_at=None)
    refused = refusal(draft.state) if event.by_traffic else None
    if refused is not None:
        reason = draft.state.reason
        draft.order(effects.FailHeld(**asdict(refused), reason=reason))
        return
    draft.refuse_if_finished("woken")
    _refuse_while_backing_off(draft)
    if draft.state.yielded_to is not None:
        draft.order(effects.AskForReturn(draft.state.yielded_to))
    elif draft.state.goal is Goal.ASLEEP:
        rise(draft, event.waited)


def rise(draft: DeploymentDraft, waited: timedelta = timedelta(0)) -> None:
    """From asleep, also while the last tasks are still ending: those that are in the way get one second more."""
    draft.begin_waking(waited)
    if not draft.state.spec.old_goes_first:
        return
    for member in draft.state.in_stage(Stage.STOPPING):
        hurry = effects.StopTask(member.task_id, FELL_ASLEEP, policy.DRAIN, policy.EXCLUSIVE_WAKE_GRACE)
        draft.order(hurry)


def _refuse_while_backing_off(draft: DeploymentDraft) -> None:
    retry_at = draft.state.retry_at
    if retry_at is not None:
        wait = max(1, math.ceil((retry_at - draft.at).total_seconds()))
        raise Unavailable(
            f"the app keeps crashing; it may start again in {wait} s", code="BACKING_OFF", retry_after=wait
        )


def fall_asleep(draft: DeploymentDraft) -> None:
    """On request. Nothing will come for who is held now; the next request wakes it."""
    if draft.state.goal is Goal.AWAKE and not draft.state.ready:
        message = "this deployment was put to sleep while it was starting"
        draft.order(effects.FailHeld(503, "ASLEEP", message))
    draft.head_for(Goal.ASLEEP)
    draft.set(retry_at=None)


def born_asleep(draft: DeploymentDraft) -> None:
    """Up without ever having been ready: the first request wakes it."""
    draft.set(status=Status.RUNNING, reason=None)
    draft.order(effects.ClaimCurrent())
    fall_asleep(draft)


def end_lying(draft: DeploymentDraft, reason: Reason) -> None:
    """Stop what stands still: it sleeps on without tasks."""
    for member in draft.state.lying:
        draft.stop(member, reason)


def memory_short(draft: DeploymentDraft, event: events.MemoryShort) -> None:
    """Whoever has been woken meanwhile keeps its tasks."""
    if draft.state.goal is Goal.ASLEEP and draft.state.spec.sleep_mode is SleepMode.AUTO:
        end_lying(draft, MEMORY_SHORT)


def task_frozen(draft: DeploymentDraft, event: events.TaskFrozen) -> None:
    """One that is wanted again meanwhile, or of which a crash took back that it sleeps, shall go on."""
    member = draft.member(event.task_id)
    if member is None:
        draft.order(effects.StopTask(event.task_id, UNKNOWN, policy.DRAIN))
    elif member in draft.state.lying:
        draft.stage(member, Stage.FROZEN)
    elif member in draft.state.live:
        draft.thaw(member)


def found_running(draft: DeploymentDraft, member: Member, event: events.TaskReady) -> None:
    """It was believed to stand still: a crash took back the row of the wake that had thawed it."""
    if draft.state.goal is Goal.ASLEEP:
        draft.begin_waking()
    draft.put(replace(member, stage=Stage.READY, address=event.address, ready_at=draft.at))


def ask_again(draft: DeploymentDraft, event: commands.Wake) -> None:
    """Requests are held though tasks are ready: the gateway closed them for a question that no longer stood."""
    if event.by_traffic and draft.state.ready:
        draft.order(effects.RouteAgain())


def idle_closed(draft: DeploymentDraft, event: events.IdleClosed) -> None:
    """Idle. Late for a question that no longer stands it says nothing: the gateway has been told of other tasks since,
    and serves through them. Its tasks drain as ever, which takes no time unless a gateway was told of them again."""
    if not draft.state.closing or (
        draft.state.lease_until is not None and not draft.passed(draft.state.lease_until)
    ):
        _stay_open(draft)
        return
    draft.head_for(Goal.ASLEEP)
    draft.set(retry_at=None)


def _stay_open(draft: DeploymentDraft) -> None:
    """What the gateway has closed is to be open."""
    if draft.state.closing:
        draft.idle_since(draft.at)
    if draft.state.ready:
        draft.order(effects.RouteAgain())


def idle_refused(draft: DeploymentDraft, event: events.IdleRefused) -> None:
    """Busy, so idle from now on at the earliest; WentQuiet will say it exactly."""
    if draft.state.closing:
        draft.idle_since(draft.at)


def went_quiet(draft: DeploymentDraft, event: events.WentQuiet) -> None:
    """What the gateway knows replaces what was assumed; it may remember an activity before the last sleep."""
    state = draft.state
    if state.idle_deadline is None or not state.ready:
        return
    since = max(event.since, min(member.ready_at or draft.at for member in state.ready))
    if state.closing and state.quiet_since is not None and since <= state.quiet_since:
        return
    draft.idle_since(since)
