"""Back to the last good generation, once, when a newer one does not work. Pure. Called by what finds that out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from platformd.domain import effects
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.resting import sleep_or_finish
from platformd.domain.deployment.state import Design, Status
from platformd.domain.snapshot import Reason

ROLLED_BACK = "ROLLED_BACK"


def go_back(draft: DeploymentDraft, good: Design, why: Reason) -> None:
    """A new generation with the whole specification of `good`. It is the good design itself from now on, so
    nothing goes back a second time."""
    state = draft.state
    message = f"generation {state.origin} failed: {why.message}; went back to generation {good.origin}"
    draft.redesign(good.spec, origin=good.origin)
    if good.spec.replicas not in (0, state.spec.replicas):
        wanted = good.spec.awake_replicas
        resting = frozenset(slot for slot in state.resting if slot < wanted)
        draft.set(full=wanted, target=wanted, resting=resting)
    limit = timedelta(seconds=good.spec.progress_deadline_secs)
    draft.set(reason=replace(why, code=ROLLED_BACK, message=message), progress_deadline=draft.at + limit)
    draft.order(effects.SystemLine(message))
    sleep_or_finish(draft, Status.FAILED, draft.state.reason)
