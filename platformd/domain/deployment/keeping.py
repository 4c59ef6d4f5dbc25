"""What keeps a deployment awake beside traffic: leases, and rules that are looked at. Pure. Handlers of the table."""

from __future__ import annotations

from datetime import timedelta

from platformd.domain import commands, effects, events, policy
from platformd.domain.deployment import sleep
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.state import Goal


def keep_awake(draft: DeploymentDraft, event: commands.KeepAwake) -> None:
    """A lease only ever grows, and ends at once with 0. One that sleeps is woken for it."""
    draft.refuse_if_finished("kept awake")
    state = draft.state
    if not event.for_secs:
        draft.set(lease_until=None)
    else:
        if state.goal is Goal.ASLEEP:
            sleep.wake(draft, commands.Wake())
        until = draft.at + timedelta(seconds=event.for_secs)
        draft.set(lease_until=max(until, draft.state.lease_until or until))
    if draft.state.quiet_since is not None and not draft.state.closing:
        draft.idle_since(draft.state.quiet_since)


def look(draft: DeploymentDraft) -> None:
    """Are its rules met? `looked` hears the answer."""
    draft.set(look_at=draft.at + policy.LOOK_EVERY)
    if draft.state.ready:
        draft.order(effects.LookBusy())


def knows(draft: DeploymentDraft) -> bool:
    """Whether there is no rule, or the answer is fresh."""
    if draft.state.spec.keep_awake is None:
        return True
    at = draft.state.looked_at
    return at is not None and draft.at - at <= policy.LOOK_FRESH


def looked(draft: DeploymentDraft, event: events.Looked) -> None:
    """Busy is an activity at this instant."""
    state = draft.state
    draft.set(looked_at=draft.at, busy=event.busy)
    if state.idle_deadline is None or state.quiet_since is None or state.closing:
        return
    if event.busy is not None:
        draft.idle_since(draft.at)
    elif draft.passed(state.idle_after(state.quiet_since)):
        draft.set(idle_deadline=draft.at)
