"""Slots that stay empty until the next wake: their tasks ended well, or ran for as long as they may. Pure.

Called by what judges the end of a task, and by what leaves fewer slots.
"""

from __future__ import annotations

from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.state import Goal, Member, Status
from platformd.domain.snapshot import Reason


def rest(draft: DeploymentDraft, member: Member, reason: Reason | None) -> None:
    draft.set(resting=draft.state.resting | {member.slot})
    if reason is not None:
        draft.set(reason=reason)


def all_rest(draft: DeploymentDraft) -> bool:
    return len(draft.state.resting) >= draft.state.target


def sleep_or_finish(draft: DeploymentDraft, status: Status, reason: Reason | None) -> None:
    """With the last slot at rest there is nothing left to do."""
    if not all_rest(draft):
        return
    if draft.state.spec.sleeps and draft.state.status is Status.RUNNING:
        draft.head_for(Goal.ASLEEP)
    else:
        draft.finish(status, reason)
