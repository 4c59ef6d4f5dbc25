"""What holds of a deployment and of a task after each step, whatever happened. Used by `tests.domain.world`."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from platformd.domain.deployment.routing import routing
from platformd.domain.deployment.state import Deployment, Goal, Phase, Stage, Status
from platformd.domain.events import Recovered
from platformd.domain.task import Task

REFUSALS = {
    Phase.DONE: "NO_DEPLOYMENT",
    Phase.QUARANTINED: "NO_DEPLOYMENT",
    Phase.WAITING_FOR_BUILD: "NO_DEPLOYMENT",
    Phase.BACKING_OFF: "BACKING_OFF",
}


def check_step(before: Deployment, after: Deployment) -> None:
    """One step of a deployment."""
    assert after.revision - before.revision == (shown(after) != shown(before))
    if after == before:
        assert after is before, "a step that changes nothing must not cost a write"
    if before.status.final:
        assert after.status is before.status, "final is final"


def check_floor(before: Deployment, event: object, after: Deployment) -> None:
    """No step of a roll takes what serves away: what is lost is what the event tells of, what ended well, or what one
    may not be side by side with."""
    if before.goal is not Goal.AWAKE or after.goal is not Goal.AWAKE or isinstance(event, Recovered):
        return
    told = {member.task_id for member in before.ready} & {getattr(event, "task_id", None)}
    kept = [member for member in before.ready if member.slot < after.target]
    floor = min(len(kept), after.tasks_total) - len(told) - after.spec.old_goes_first
    assert after.tasks_ready >= floor, f"{event} took {before.tasks_ready} ready to {after.tasks_ready}"


def shown(state: Deployment) -> tuple[object, ...]:
    """What the contract says the revision rises with."""
    return (
        state.spec,
        state.status,
        state.phase,
        state.reason,
        state.generation,
        state.observed_generation,
        state.current,
        state.superseded_by,
        state.tasks_ready,
        state.tasks_total,
    )


def check_deployment(state: Deployment, now: datetime) -> None:
    """One state of a deployment."""
    _slots(state)
    _goal(state)
    _clocks(state)
    _refuses(state)
    assert 0 <= state.progress <= 100
    assert state.status.final == (state.goal is Goal.FINISHED)
    assert state.updated_at <= now


def _slots(state: Deployment) -> None:
    live = Counter((member.slot, state.is_outdated(member)) for member in state.live)
    if state.phase not in (Phase.QUARANTINED, Phase.WAITING_FOR_BUILD):
        assert all(count == 1 for count in live.values()), (
            f"several live tasks of one design in a slot: {state.members}"
        )
        assert all(slot < state.target for slot, _ in live)
    assert len({member.task_id for member in state.members}) == len(state.members)
    if state.goal is Goal.AWAKE and state.phase is not Phase.QUARANTINED:
        assert state.tasks_ready <= state.tasks_total
        assert all(slot < state.target for slot in state.resting)
    if state.spec.old_goes_first:
        assert len(state.live) <= 1 or state.target > 1
    origins = {design.origin for design in state.former}
    for member in state.members:
        assert state.made_by(member.generation) is not None, "a task nobody knows the specification of"
    assert len(origins) <= len(state.members) + 1, "designs that nobody needs"


def _goal(state: Deployment) -> None:
    if state.phase in (Phase.ASLEEP, Phase.DONE):
        awake = [member for member in state.members if member.stage is not Stage.FROZEN]
        assert not awake, f"{state.phase} with tasks"
        assert state.phase is Phase.ASLEEP or not state.members
        assert state.progress == 100
    if state.goal is not Goal.AWAKE and state.phase is not Phase.QUARANTINED:
        assert not state.live
        assert state.tasks_total == 0
    if state.goal is Goal.ASLEEP:
        assert state.status is Status.RUNNING
    if state.phase is Phase.READY:
        assert state.ready
        assert state.status is Status.RUNNING
    if state.status is Status.FAILED:
        assert state.reason is not None
    if state.goal is Goal.FINISHED:
        assert not state.current


def _clocks(state: Deployment) -> None:
    """Transitional phases have deadlines, those at rest have none."""
    if (
        state.phase is Phase.QUARANTINED
        or state.phase in (Phase.ASLEEP, Phase.DONE)
        or state.goal is Goal.FINISHED
    ):
        assert state.next_deadline == state.thaw_deadline
    elif state.phase in (Phase.STARTING, Phase.WAKING, Phase.UPDATING, Phase.BACKING_OFF):
        assert state.next_deadline is not None
    elif state.phase is Phase.READY and state.spec.sleeps:
        assert state.idle_deadline is not None
        assert state.quiet_since is not None
    assert state.wake_deadline is None or not state.ready
    assert state.closing <= {member.task_id for member in state.ready}


def _refuses(state: Deployment) -> None:
    now = routing(state)
    code = None if now.refusal is None else now.refusal.code
    if state.goal is Goal.FINISHED or not state.spec.serves:
        assert code == "NO_DEPLOYMENT"
    elif state.phase in REFUSALS:
        assert code == REFUSALS[state.phase]
    elif state.retry_at is not None and not state.live:  # draining what crashed
        assert code == "BACKING_OFF"
    else:
        assert code == (None if state.spec.cold_start_enabled else "ASLEEP")
    ready = {member.task_id for member in state.members if member.stage is Stage.READY}
    assert {target.task_id for target in now.targets} == (ready if state.spec.serves else set())


def check_task_step(before: Task, after: Task) -> None:
    assert after.revision - before.revision == (after != before)
    if before.phase.final:
        assert after.phase is before.phase, "final is final"


def check_task(task: Task) -> None:
    if task.phase.final:
        assert task.next_deadline is None
        assert task.ended_at is not None
        assert task.stop_stage is None
    if task.phase.value in ("stopping", "freezing"):
        assert task.stop_stage is not None or task.phase.value == "freezing"
        assert task.stop_deadline is not None, "an end that may take for ever"
