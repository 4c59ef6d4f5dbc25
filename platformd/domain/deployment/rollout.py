"""From what is wanted to what is ordered: which slots start a task, which tasks end, which phase that is.

Pure. `settle` runs after every handler, so a handler only records what happened or is wanted.
"""

from __future__ import annotations

from datetime import timedelta

from platformd.domain import effects, policy
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.state import ON_THE_WAY, Deployment, Goal, Member, Phase, Stage, Status
from platformd.domain.snapshot import Reason

SCALED_DOWN = Reason(code="SCALED_DOWN", message="fewer replicas are wanted")
FELL_ASLEEP = Reason(code="ASLEEP", message="the deployment went to sleep")
STOPPED = Reason(code="STOPPED", message="its end had begun before the service restarted")
LONG_ASLEEP = Reason(code="ASLEEP", message="it stood still for long")
MEMORY_SHORT = Reason(code="MEMORY_SHORT", message="the machine ran out of memory while it stood still")
DOUBLED = Reason(code="DOUBLED", message="another task holds the same slot")
UNKNOWN = Reason(code="UNKNOWN_TASK", message="the deployment does not know this task any more")
REPLACED = Reason(code="REPLACED", message="a task of a newer generation takes its place")
CANCELLED = Reason(code="CANCELLED", message="the deployment was cancelled")


def settle(draft: DeploymentDraft) -> None:
    """Start and stop tasks towards the goal, take note of what has been reached, name the phase.

    Not while it waits for a build or is quarantined: then only what leads out of that counts.
    """
    phase = draft.state.phase
    if phase is Phase.QUARANTINED or (phase is Phase.WAITING_FOR_BUILD and draft.state.goal is Goal.AWAKE):
        return
    _pursue_goal(draft)
    _take_note(draft)
    _take_note_of_sleep(draft)
    _forget_designs(draft)
    draft.set(phase=phase_of(draft.state))
    if draft.state.phase in (Phase.ASLEEP, Phase.DONE):
        draft.set(observed_generation=draft.state.generation)


def _pursue_goal(draft: DeploymentDraft) -> None:
    match draft.state.goal:
        case Goal.AWAKE:
            _stop_surplus(draft)
            if draft.state.retry_at is None:
                _start_missing(draft)
                _replace_one(draft)
        case Goal.ASLEEP:
            _lie_down(draft)
        case Goal.FINISHED:
            _stop_all(draft, draft.state.reason or CANCELLED)


def _lie_down(draft: DeploymentDraft) -> None:
    """By its sleep mode. What is not ready has nothing worth keeping."""
    state = draft.state
    if not state.freezes:
        _stop_all(draft, FELL_ASLEEP)
        return
    for member in state.live:
        if member.stage is Stage.READY and not state.is_outdated(member):
            draft.freeze(member)
        else:
            draft.stop(member, FELL_ASLEEP)
    for member in state.lying:
        if state.is_outdated(member):
            draft.stop(member, REPLACED)


def _start_missing(draft: DeploymentDraft) -> None:
    state = draft.state
    for slot in range(state.target):
        if slot in state.resting:
            continue
        lying = next((member for member in state.lying if member.slot == slot), None)
        if lying is not None and not _served(state, slot):
            draft.thaw(lying)
            continue
        if _occupied(state, slot):
            continue
        _start(draft, slot)


def _start(draft: DeploymentDraft, slot: int) -> None:
    state, task_id = draft.state, draft.moment.next_id(slot)
    draft.put(Member(task_id=task_id, slot=slot, generation=state.generation, stage=Stage.STARTING))
    draft.order(effects.StartTask(task_id, slot, state.generation, state.restarts.get(slot, 0)))


def _replace_one(draft: DeploymentDraft) -> None:
    """The next step of a roll, once nothing else is coming up: what serves goes last, and not before its successor is
    ready unless the two cannot be side by side."""
    state = draft.state
    outdated = state.outdated
    if not outdated or any(member.stage in ON_THE_WAY for member in set(state.live) - set(outdated)):
        return
    if len({member.slot for member in state.live}) < state.tasks_total:
        return
    first = min(outdated, key=lambda member: (member.stage is Stage.READY, member.slot))
    if state.spec.old_goes_first:
        draft.stop(first, REPLACED)
    else:
        _start(draft, first.slot)


def _occupied(state: Deployment, slot: int) -> bool:
    """A slot is free once its task is on the way out, or, where two cannot be side by side, gone."""
    holders = [member for member in state.members if member.slot == slot]
    return bool(holders) if state.spec.old_goes_first else _served(state, slot)


def _served(state: Deployment, slot: int) -> bool:
    return any(member.slot == slot for member in state.live)


def _stop_surplus(draft: DeploymentDraft) -> None:
    """Slots beyond the target, newest first; of two alike in one slot the one that is less far; what is replaced. What
    stands still may go on doing so up to the full number: a wake of few leaves it for later."""
    state = draft.state
    for member in state.lying:
        if state.is_outdated(member):
            draft.stop(member, REPLACED)
        elif member.slot >= state.full or _served(state, member.slot):
            draft.stop(member, SCALED_DOWN)
    for member in sorted(state.live, key=lambda member: -member.slot):
        if member.slot >= state.target:
            draft.stop(member, SCALED_DOWN)
    best: dict[tuple[int, bool], Member] = {}
    for member in sorted(draft.state.live, key=lambda member: member.stage is not Stage.READY):
        alike = (member.slot, state.is_outdated(member))
        if alike in best:
            draft.stop(member, DOUBLED)
        best.setdefault(alike, member)
    for member in draft.state.outdated:
        successor = best.get((member.slot, False))
        taken_over = successor is not None and successor.stage is Stage.READY
        if taken_over or member.ready_at is None or member.slot in state.resting:
            draft.stop(member, REPLACED)


def _stop_all(draft: DeploymentDraft, reason: Reason) -> None:
    for member in (*draft.state.live, *draft.state.lying):
        draft.stop(member, reason)


def _take_note_of_sleep(draft: DeploymentDraft) -> None:
    state = draft.state
    if state.goal is not Goal.ASLEEP or not state.lying:
        draft.set(frozen_since=None)
    elif state.frozen_since is None:
        draft.set(frozen_since=draft.at)


def _take_note(draft: DeploymentDraft) -> None:
    """Ready together for the first time; first ready of a wake; the clocks of what is awake."""
    state = draft.state
    if state.goal is not Goal.AWAKE:
        return
    if state.ready:
        draft.set(wake_deadline=None)
    if state.tasks_ready >= state.tasks_total and not state.outdated:
        draft.set(progress_deadline=None, observed_generation=state.generation, last_good=state.origin)
        if state.status is Status.PENDING:
            draft.set(status=Status.RUNNING, ever_ready=True, reason=None)
            draft.order(effects.ClaimCurrent())
    elif state.progress_deadline is None and state.wake_deadline is None:
        limit = timedelta(seconds=state.spec.progress_deadline_secs)
        draft.set(progress_deadline=draft.at + limit)
    _mind_idleness(draft)


def _forget_designs(draft: DeploymentDraft) -> None:
    """Of the former ones those that no task was made by, and that nothing would go back to."""
    state = draft.state
    if state.former:
        makers = (*(state.made_by(member.generation) for member in state.members), state.good_design)
        needed = {design.since for design in makers if design is not None}
        draft.set(former=tuple(design for design in state.former if design.since in needed))


def _mind_idleness(draft: DeploymentDraft) -> None:
    """What runs and can sleep has an idle deadline. A question to the gateway is void once other tasks are ready,
    because telling it of those opens them all."""
    state = draft.state
    ready = frozenset(member.task_id for member in state.ready)
    if state.closing != ready:
        draft.set(closing=frozenset())
    if ready and state.idle_deadline is None and state.spec.sleeps and state.status is Status.RUNNING:
        since = min(member.ready_at or draft.at for member in state.ready)
        closing = draft.state.closing
        draft.idle_since(since)
        draft.set(closing=closing)
        if state.spec.keep_awake is not None and state.look_at is None:
            draft.set(look_at=draft.at + policy.LOOK_EVERY)


def phase_of(state: Deployment) -> Phase:
    """The phase that follows from goal, members and deadlines."""
    if state.goal is Goal.FINISHED:
        return Phase.DRAINING if state.members else Phase.DONE
    if state.goal is Goal.ASLEEP:
        if any(member.stage is not Stage.FROZEN for member in state.members):
            return Phase.DRAINING
        return Phase.ASLEEP if state.retry_at is None else Phase.BACKING_OFF
    if state.retry_at is not None and not state.live:
        return Phase.BACKING_OFF
    if state.status is Status.PENDING:
        return Phase.PULLING if state.in_stage(Stage.PULLING) else Phase.STARTING
    if not state.ready:
        return Phase.STARTING if state.wake_deadline is None else Phase.WAKING
    return Phase.READY if state.generation == state.observed_generation else Phase.UPDATING


def retired(by_version: int) -> Reason:
    return Reason(
        code="SUPERSEDED", message=f"its environment keeps enough newer versions, up to version {by_version}"
    )


def superseded(by_version: int) -> Reason:
    return Reason(code="SUPERSEDED", message=f"version {by_version} took its environment's address")
