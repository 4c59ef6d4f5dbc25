"""The deployment's state machine: the table of what can happen in which phase, and `step`.

Pure. Driven by `actors.deployment`; drawn in the documentation from `TRANSITIONS`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from platformd.domain import commands, effects, events
from platformd.domain.deployment import failure, sleep
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.rollout import CANCELLED, FELL_ASLEEP, phase_of, settle, superseded
from platformd.domain.deployment.state import Deployment, Goal, Member, Phase, Stage, Status
from platformd.domain.effects import DeploymentEffect, Moment
from platformd.domain.machine import Rule, Step, compile_rules, ignore
from platformd.domain.snapshot import Reason
from platformd.domain.spec import contradictions
from platformd.errors import Invalid, InvalidState


def step(deployment: Deployment, event: object, moment: Moment) -> Step[Deployment, DeploymentEffect]:
    """What `event` makes of `deployment`.

    A command may be refused with a PlatformError; a fact never is. The revision rises when something a client can
    see has changed.
    """
    rule = TRANSITIONS.get((deployment.phase, type(event)))
    if rule is None:
        return Step(deployment)
    draft = DeploymentDraft(deployment, moment)
    rule.handler(draft, event)
    settle(draft)
    if draft.state != deployment:
        draft.set(
            updated_at=moment.at, revision=deployment.revision + (visible(draft.state) != visible(deployment))
        )
    return Step(draft.state, tuple(draft.effects))


def visible(state: Deployment) -> tuple[object, ...]:
    """What the revision stands for."""
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


# ---- commands ----------------------------------------------------------------------------------------------


def _created(draft: DeploymentDraft, event: events.Created) -> None:
    """With no replicas wanted it is up and asleep at once."""
    if draft.state.spec.replicas == 0:
        draft.set(status=Status.RUNNING)
        draft.head_for(Goal.ASLEEP)
        draft.order(effects.ClaimCurrent())


def _scale(draft: DeploymentDraft, event: commands.Scale) -> None:
    state = draft.state
    spec = replace(state.spec, replicas=event.replicas)
    faults = [replace(fault, pointer=f"/spec{fault.pointer}") for fault in contradictions(spec)]
    if faults:
        raise Invalid(f"{event.replicas} replicas contradict the specification", faults=faults)
    if spec == state.spec and (state.goal is Goal.AWAKE) == bool(event.replicas):
        return
    draft.set(spec=spec, generation=state.generation + 1)
    if event.replicas == 0:
        _scale_to_zero(draft)
        return
    draft.set(full=event.replicas)
    if state.goal is Goal.ASLEEP:
        draft.begin_waking()
    draft.set(
        target=event.replicas, resting=frozenset(slot for slot in state.resting if slot < event.replicas)
    )
    draft.set(progress_deadline=draft.at + timedelta(seconds=spec.progress_deadline_secs))


def _scale_to_zero(draft: DeploymentDraft) -> None:
    if draft.state.status is Status.PENDING:
        draft.set(status=Status.RUNNING)
        draft.order(effects.ClaimCurrent())
    draft.head_for(Goal.ASLEEP)
    draft.set(retry_at=None)


def _scale_finished(draft: DeploymentDraft, event: commands.Scale) -> None:
    _refuse_if_finished(draft, "scaled")
    _scale(draft, event)


def _cancel(draft: DeploymentDraft, event: commands.Cancel) -> None:
    status = draft.state.status
    if status is Status.CANCELLED:
        return
    if status.final:
        raise InvalidState(f"deployment {draft.state.id} has {status.value} and cannot be cancelled any more")
    draft.finish(Status.CANCELLED, CANCELLED)


def _wake_command(draft: DeploymentDraft, event: commands.Wake) -> None:
    if not event.by_traffic:
        _refuse_if_finished(draft, "woken")
    sleep.wake_when_draining(draft, event)


def _sleep_command(draft: DeploymentDraft, event: commands.Sleep) -> None:
    _refuse_if_finished(draft, "put to sleep")
    if draft.state.status is Status.PENDING:
        raise InvalidState(
            f"deployment {draft.state.id} has never been ready; cancel it, or wait until it is running"
        )
    if not draft.state.spec.serves:
        raise InvalidState(f"deployment {draft.state.id} has protocol none: it cannot sleep; cancel it")
    sleep.fall_asleep(draft, event)


def _refuse_if_finished(draft: DeploymentDraft, verb: str) -> None:
    if draft.state.status.final:
        raise InvalidState(
            f"deployment {draft.state.id} has {draft.state.status.value} and cannot be {verb} any more"
        )


# ---- facts -------------------------------------------------------------------------------------------------


def _task_ready(draft: DeploymentDraft, event: events.TaskReady) -> None:
    member = draft.member(event.task_id)
    if member is None or member.stage is not Stage.STARTING:
        return
    ready_at = member.ready_at or draft.at
    draft.put(replace(member, stage=Stage.READY, address=event.address, ready_at=ready_at))
    if draft.state.status is Status.RUNNING and draft.state.goal is Goal.AWAKE:
        draft.set(ever_ready=True, reason=None)


def _task_unready(draft: DeploymentDraft, event: events.TaskUnready) -> None:
    member = draft.member(event.task_id)
    if member is not None and member.stage is Stage.READY:
        draft.stage(member, Stage.STARTING)


def _task_waiting(draft: DeploymentDraft, event: events.TaskWaiting) -> None:
    if draft.member(event.task_id) is None:
        return
    state = draft.state
    draft.set(reason=event.reason)
    if event.reason.code != "PORT_IN_USE" or state.spec.networking.port is None:
        return
    if state.superseded_by is None:
        draft.order(effects.AskForPort(state.spec.networking.port))
        return
    draft.order(effects.FailHeld(503, "PORT_IN_USE", event.reason.message, reason=event.reason))
    draft.head_for(Goal.ASLEEP)


def _recovered(draft: DeploymentDraft, event: events.Recovered) -> None:
    """Reality wins over what was remembered: members are the tasks that are known, and nobody else."""
    known = {member.task_id: member for member in draft.state.members}
    members = tuple(
        known.get(found.task_id)
        or Member(task_id=found.task_id, slot=found.slot, generation=found.generation, stage=Stage.STARTING)
        for found in event.tasks
    )
    strangers = [member for member in members if member.task_id not in known]
    draft.set(members=tuple(sorted(members, key=lambda member: (member.slot, member.generation))))
    state = draft.state
    if event.host_restarted and state.goal is Goal.AWAKE:
        draft.set(reason=Reason(code="HOST_RESTARTED", message="the host was restarted"))
    if strangers and state.goal is Goal.ASLEEP:
        draft.begin_waking()
    if state.goal is Goal.AWAKE and state.idle_deadline is None:
        draft.set(quiet_since=None)
    if state.status is Status.RUNNING and not state.current and state.superseded_by is None:
        draft.order(effects.ClaimCurrent())
    if state.phase is Phase.QUARANTINED:
        draft.set(phase=phase_of(state))
    for member in state.in_stage(Stage.STOPPING):
        draft.stop(member, state.reason or CANCELLED if state.goal is Goal.FINISHED else FELL_ASLEEP)


def _became_current(draft: DeploymentDraft, event: events.BecameCurrent) -> None:
    draft.set(current=True, superseded_by=None)


def _superseded(draft: DeploymentDraft, event: events.Superseded) -> None:
    """The older one stays reachable at its own address when it can sleep; else it has served its time."""
    state = draft.state
    draft.set(current=False, superseded_by=event.by)
    if state.goal is Goal.FINISHED:
        return
    if state.status is Status.PENDING or not state.spec.sleeps:
        draft.finish(Status.CANCELLED, superseded(event.version))
    elif state.goal is Goal.AWAKE:
        draft.head_for(Goal.ASLEEP)
        draft.set(retry_at=None)


P = Phase
_AWAKE = (P.STARTING, P.PULLING, P.READY, P.UPDATING, P.WAKING)
_RESTING = (P.ASLEEP, P.BACKING_OFF)
_UNBORN = (P.WAITING_FOR_BUILD,)
_STUCK = (P.QUARANTINED,)
_ALL = tuple(Phase)
_WORKING = (*_AWAKE, *_RESTING, P.DRAINING)
_AFTER_TASK = (*_AWAKE, *_RESTING, P.DRAINING, P.DONE)

TRANSITIONS = compile_rules(
    (
        Rule(events.Created, (P.STARTING, P.PULLING), _created, (P.STARTING, P.ASLEEP)),
        Rule(events.Created, tuple(p for p in _ALL if p not in (P.STARTING, P.PULLING)), ignore),
        Rule(commands.Scale, (*_AWAKE, *_RESTING), _scale, (*_AWAKE, P.BACKING_OFF, P.ASLEEP, P.DRAINING)),
        Rule(commands.Scale, (P.DRAINING, P.DONE), _scale_finished, (P.WAKING, P.DRAINING, P.STARTING)),
        Rule(commands.Scale, (*_UNBORN, *_STUCK), _scale, (P.DRAINING, P.ASLEEP, P.STARTING)),
        Rule(commands.Cancel, _ALL, _cancel, (P.DRAINING, P.DONE)),
        Rule(commands.Wake, (P.ASLEEP,), sleep.wake, (P.WAKING,)),
        Rule(commands.Wake, (P.BACKING_OFF,), sleep.wake_while_backing_off, (P.BACKING_OFF, P.WAKING)),
        Rule(commands.Wake, (P.DRAINING, P.DONE), _wake_command, (P.DRAINING, P.WAKING, P.STARTING)),
        Rule(commands.Wake, (*_AWAKE, *_UNBORN, *_STUCK), ignore),
        Rule(commands.Sleep, (*_AWAKE, *_RESTING), _sleep_command, (P.DRAINING, P.ASLEEP)),
        Rule(commands.Sleep, (P.DRAINING, P.DONE, *_UNBORN, *_STUCK), _sleep_command, (P.DRAINING, P.ASLEEP)),
        Rule(events.TaskReady, _WORKING, _task_ready, _AFTER_TASK),
        Rule(events.TaskReady, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.TaskUnready, _WORKING, _task_unready, _AFTER_TASK),
        Rule(events.TaskUnready, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.TaskStopping, _WORKING, failure.task_stopping, _AFTER_TASK),
        Rule(events.TaskStopping, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.TaskWaiting, _WORKING, _task_waiting, _AFTER_TASK),
        Rule(events.TaskWaiting, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.TaskExited, _WORKING, failure.task_exited, _AFTER_TASK),
        Rule(events.TaskExited, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.TaskEnded, _WORKING, failure.task_ended, _AFTER_TASK),
        Rule(events.TaskEnded, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.Recovered, _ALL, _recovered, _ALL),
        Rule(events.WentQuiet, _AWAKE, sleep.went_quiet),
        Rule(events.WentQuiet, (*_RESTING, P.DRAINING, P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.IdleClosed, _AWAKE, sleep.fall_asleep, (P.DRAINING,)),
        Rule(events.IdleClosed, (*_RESTING, P.DRAINING, P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.IdleRefused, _ALL, ignore),
        Rule(events.BecameCurrent, (*_WORKING, *_STUCK), _became_current, _AFTER_TASK),
        Rule(events.BecameCurrent, (P.DONE, *_UNBORN), ignore),
        Rule(events.Superseded, (*_WORKING, *_UNBORN, *_STUCK), _superseded, (P.DRAINING, P.ASLEEP, P.DONE)),
        Rule(events.Superseded, (P.DONE,), ignore),
        Rule(events.TimerElapsed, (*_WORKING, *_UNBORN), sleep.time_elapsed, _AFTER_TASK),
        Rule(events.TimerElapsed, (P.DONE, *_STUCK), ignore),
    )
)
