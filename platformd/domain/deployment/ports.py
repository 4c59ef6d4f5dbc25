"""One fixed native port, two versions: the older makes room, and has the port back should the newer not take over.

Pure. Handlers of the transitions table.
"""

from __future__ import annotations

from platformd.domain import effects, events
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.sleep import rise
from platformd.domain.deployment.state import Goal, Status
from platformd.domain.snapshot import Reason

YIELDED = Reason(code="PORT_YIELDED", message="a newer version is starting on the same port")


def task_waiting(draft: DeploymentDraft, event: events.TaskWaiting) -> None:
    """A newer version asks for its port; an older one that was woken leaves it to whoever has it."""
    state = draft.state
    if draft.member(event.task_id) not in state.live:
        return
    draft.set(reason=event.reason)
    if event.reason.code != "PORT_IN_USE" or state.spec.networking.port is None:
        return
    if state.superseded_by is None:
        draft.order(effects.AskForPort(state.spec.networking.port))
        return
    draft.order(effects.FailHeld(503, "PORT_IN_USE", event.reason.message, reason=event.reason))
    draft.head_for(Goal.ASLEEP)


def port_wanted(draft: DeploymentDraft, event: events.PortWanted) -> None:
    """Stop and stay down; requests are held meanwhile."""
    state = draft.state
    same_port = state.spec.networking.port == event.port
    if state.status is not Status.RUNNING or state.goal is Goal.FINISHED or not same_port:
        return
    if state.yielded_to == event.by:
        return
    draft.head_for(Goal.ASLEEP)
    draft.set(yielded_to=event.by, retry_at=None, reason=YIELDED)


def turn_away(draft: DeploymentDraft, version: int) -> None:
    """The newer version has taken over: whoever was held for this one is not served by it any more."""
    message = f"version {version} has taken over the port this one served on"
    draft.order(effects.FailHeld(503, "PORT_IN_USE", message, retry_at=draft.at))


def port_returned(draft: DeploymentDraft, event: events.PortReturned) -> None:
    """The newer version did not take over: start again."""
    if draft.state.yielded_to != event.by:
        return
    draft.set(yielded_to=None)
    if draft.state.goal is Goal.ASLEEP:
        rise(draft)
