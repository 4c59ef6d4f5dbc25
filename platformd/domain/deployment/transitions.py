"""The deployment's state machine: the table of what can happen in which phase, and `step`.

Pure. Driven by `actors.deployment`; drawn in the documentation from `TRANSITIONS`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from platformd.domain import commands, effects, events, policy
from platformd.domain.deployment import deadlines, failure, ports, sleep
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.recovery import recovered
from platformd.domain.deployment.rollout import CANCELLED, UNKNOWN, settle, superseded
from platformd.domain.deployment.state import Deployment, Goal, Phase, Stage, Status
from platformd.domain.effects import DeploymentEffect, Moment
from platformd.domain.machine import Rule, Step, compile_rules, ignore
from platformd.domain.spec import DeploymentSpec, contradictions
from platformd.errors import Invalid, InvalidState


def step(deployment: Deployment, event: object, moment: Moment) -> Step[Deployment, DeploymentEffect]:
    """What `event` makes of `deployment`.

    A command may be refused with a PlatformError; a fact never is. The revision rises when something a client can
    see has changed. What changes nothing gives back the very same state.
    """
    rule = TRANSITIONS.get((deployment.phase, type(event)))
    if rule is None:
        return Step(deployment)
    draft = DeploymentDraft(deployment, moment)
    rule.handler(draft, event)
    settle(draft)
    if draft.state == deployment:
        return Step(deployment, tuple(draft.effects))
    seen = visible(draft.state) != visible(deployment)
    draft.set(updated_at=moment.at, revision=deployment.revision + seen)
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
    if draft.state.status is Status.PENDING and draft.state.spec.replicas == 0:
        sleep.born_asleep(draft)


def _scale(draft: DeploymentDraft, event: commands.Scale) -> None:
    state = draft.state
    spec = _scaled(draft, event.replicas)
    wanted_now = state.target if state.goal is Goal.AWAKE else 0
    if spec == state.spec and event.replicas == wanted_now:
        return
    draft.set(spec=spec, generation=state.generation + 1)
    if event.replicas == 0:
        _scale_to_zero(draft)
        return
    draft.set(full=event.replicas)
    if state.goal is Goal.ASLEEP:
        sleep.rise(draft)
    resting = frozenset(slot for slot in draft.state.resting if slot < event.replicas)
    deadline = draft.at + timedelta(seconds=spec.progress_deadline_secs)
    draft.set(target=event.replicas, resting=resting, progress_deadline=deadline)
    failure.sleep_or_finish(draft, Status.SUCCEEDED, None)


def _scaled(draft: DeploymentDraft, replicas: int) -> DeploymentSpec:
    spec = replace(draft.state.spec, replicas=replicas)
    faults = [replace(fault, pointer=f"/spec{fault.pointer}") for fault in contradictions(spec)]
    if faults:
        raise Invalid(f"{replicas} replicas contradict the specification", faults=faults)
    return spec


def _scale_to_zero(draft: DeploymentDraft) -> None:
    if draft.state.status is Status.PENDING:
        sleep.born_asleep(draft)
    else:
        sleep.fall_asleep(draft)


def _scale_unborn(draft: DeploymentDraft, event: commands.Scale) -> None:
    """Taken note of until there is something to start."""
    spec = _scaled(draft, event.replicas)
    if spec == draft.state.spec:
        return
    draft.set(spec=spec, generation=draft.state.generation + 1)
    if event.replicas:
        draft.set(full=event.replicas, target=event.replicas)


def _scale_finished(draft: DeploymentDraft, event: commands.Scale) -> None:
    draft.refuse_if_finished("scaled")
    _scale(draft, event)


def _cancel(draft: DeploymentDraft, event: commands.Cancel) -> None:
    status = draft.state.status
    if status is Status.CANCELLED:
        return
    if status.final:
        draft.refuse_if_finished("cancelled")
    draft.finish(Status.CANCELLED, CANCELLED)


def _sleep_command(draft: DeploymentDraft, event: commands.Sleep) -> None:
    draft.refuse_if_finished("put to sleep")
    if draft.state.status is Status.PENDING:
        raise InvalidState(
            f"deployment {draft.state.id} has never been ready; cancel it, or wait until it is running"
        )
    if not draft.state.spec.serves:
        raise InvalidState(f"deployment {draft.state.id} has protocol none: it cannot sleep; cancel it")
    sleep.fall_asleep(draft)


# ---- facts -------------------------------------------------------------------------------------------------


def _task_ready(draft: DeploymentDraft, event: events.TaskReady) -> None:
    member = draft.member(event.task_id)
    if member is None:
        draft.order(effects.StopTask(event.task_id, UNKNOWN, policy.DRAIN))
        return
    if member.stage is not Stage.STARTING:
        return
    ready_at = member.ready_at or draft.at
    draft.put(replace(member, stage=Stage.READY, address=event.address, ready_at=ready_at))
    if draft.state.status is Status.RUNNING and draft.state.goal is Goal.AWAKE:
        draft.set(ever_ready=True, reason=None)


def _task_unready(draft: DeploymentDraft, event: events.TaskUnready) -> None:
    member = draft.member(event.task_id)
    if member is not None and member.stage is Stage.READY:
        draft.stage(member, Stage.STARTING)


def _became_current(draft: DeploymentDraft, event: events.BecameCurrent) -> None:
    """Too late for one that has ended meanwhile: the address leads nowhere."""
    if draft.state.goal is Goal.FINISHED:
        draft.order(effects.ReleaseCurrent())
    else:
        draft.set(current=True, superseded_by=None)


def _superseded(draft: DeploymentDraft, event: events.Superseded) -> None:
    """The older one stays reachable at its own address when it can sleep; else it has served its time.

    Told again of the same one, what a request has woken since stays awake; so does what is just being woken.
    """
    state = draft.state
    draft.set(current=False, superseded_by=event.by, yielded_to=None)
    if state.yielded_to is not None:
        ports.turn_away(draft, event.version)
    if state.goal is Goal.FINISHED:
        return
    if state.status is Status.PENDING or not state.spec.sleeps:
        draft.finish(Status.CANCELLED, superseded(event.version))
    elif event.by != state.superseded_by and not state.coming_up:
        draft.head_for(Goal.ASLEEP)


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
        Rule(commands.Scale, _UNBORN, _scale_unborn),
        Rule(commands.Scale, _STUCK, _scale, (P.DRAINING, P.ASLEEP, P.STARTING)),
        Rule(commands.Cancel, _ALL, _cancel, (P.DRAINING, P.DONE)),
        Rule(commands.Wake, (*_RESTING, P.DRAINING), sleep.wake, (P.ASLEEP, P.STARTING, P.WAKING)),
        Rule(commands.Wake, (P.DONE, *_UNBORN, *_STUCK), sleep.wake),
        Rule(commands.Wake, _AWAKE, ignore),
        Rule(commands.Sleep, (*_AWAKE, *_RESTING), _sleep_command, (P.DRAINING, P.ASLEEP)),
        Rule(commands.Sleep, (P.DRAINING, P.DONE, *_UNBORN, *_STUCK), _sleep_command, (P.DRAINING, P.ASLEEP)),
        Rule(events.TaskReady, _WORKING, _task_ready, _AFTER_TASK),
        Rule(events.TaskReady, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.TaskUnready, _WORKING, _task_unready, _AFTER_TASK),
        Rule(events.TaskUnready, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.TaskStopping, _WORKING, failure.task_stopping, _AFTER_TASK),
        Rule(events.TaskStopping, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.TaskWaiting, _WORKING, ports.task_waiting, _AFTER_TASK),
        Rule(events.TaskWaiting, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.TaskExited, _WORKING, failure.task_exited, _AFTER_TASK),
        Rule(events.TaskExited, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.TaskEnded, _WORKING, failure.task_ended, _AFTER_TASK),
        Rule(events.TaskEnded, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.Recovered, _ALL, recovered, _ALL),
        Rule(events.WentQuiet, _AWAKE, sleep.went_quiet),
        Rule(events.WentQuiet, (*_RESTING, P.DRAINING, P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.IdleClosed, _AWAKE, sleep.idle_closed, (P.DRAINING,)),
        Rule(events.IdleClosed, (*_RESTING, P.DRAINING, P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.IdleRefused, _AWAKE, sleep.idle_refused),
        Rule(events.IdleRefused, (*_RESTING, P.DRAINING, P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.PortWanted, (*_AWAKE, *_RESTING, P.DRAINING), ports.port_wanted, (P.DRAINING, P.ASLEEP)),
        Rule(events.PortWanted, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(
            events.PortReturned, (*_AWAKE, *_RESTING, P.DRAINING), ports.port_returned, (P.WAKING, P.STARTING)
        ),
        Rule(events.PortReturned, (P.DONE, *_UNBORN, *_STUCK), ignore),
        Rule(events.BecameCurrent, _ALL, _became_current),
        Rule(events.Superseded, (*_WORKING, *_UNBORN, *_STUCK), _superseded, (P.DRAINING, P.ASLEEP, P.DONE)),
        Rule(events.Superseded, (P.DONE,), ignore),
        Rule(events.TimerElapsed, (*_WORKING, *_UNBORN), deadlines.time_elapsed, _AFTER_TASK),
        Rule(events.TimerElapsed, (P.DONE, *_STUCK), ignore),
    )
)
