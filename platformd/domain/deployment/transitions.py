"""The deployment's state machine: the table of what can happen in which phase, and `step`.

Pure. Driven by `actors.deployment`; drawn in the documentation from `TRANSITIONS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from platformd.domain import commands, effects, events, policy
from platformd.domain.deployment import (
    autoscale,
    changes,
    deadlines,
    failure,
    filling,
    images,
    keeping,
    ports,
    sleep,
)
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.going_back import ROLLED_BACK
from platformd.domain.deployment.recovery import recovered
from platformd.domain.deployment.rollout import CANCELLED, UNKNOWN, retired, settle, superseded
from platformd.domain.deployment.state import ON_THE_WAY, Deployment, Goal, Phase, Stage, Status
from platformd.domain.effects import DeploymentEffect, Moment
from platformd.domain.machine import Rule, Step, compile_rules, ignore
from platformd.errors import InvalidState, Unavailable


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
        state.image_digest,
        state.tasks_ready,
        state.tasks_total,
    )


# ---- commands ----------------------------------------------------------------------------------------------


def _cancel(draft: DeploymentDraft, event: commands.Cancel) -> None:
    if draft.state.status is Status.CANCELLED:
        return
    draft.refuse_if_finished("cancelled")
    draft.finish(Status.CANCELLED, CANCELLED)


def _sleep(draft: DeploymentDraft, event: commands.Sleep) -> None:
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
    if member.stage is Stage.FROZEN:
        sleep.found_running(draft, member, event)
        return
    if member.stage not in ON_THE_WAY:
        return
    ready_at = member.ready_at or draft.at
    draft.put(replace(member, stage=Stage.READY, address=event.address, ready_at=ready_at))
    state = draft.state
    if state.status is not Status.RUNNING or state.goal is not Goal.AWAKE:
        return
    draft.set(ever_ready=True)
    if state.reason is not None and state.reason.code != ROLLED_BACK:
        draft.set(reason=None)
    if state.good_design is not None and member.ready_at is None and state.progress_deadline is not None:
        limit = timedelta(seconds=state.spec.progress_deadline_secs)
        draft.set(progress_deadline=draft.at + limit)  # a roll that gets on is not stuck


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


def _retired(draft: DeploymentDraft, event: events.Retired) -> None:
    """Kept long enough to be woken. What has the address, or has ended, is not meant."""
    if not draft.state.current and not draft.state.status.final:
        draft.finish(Status.CANCELLED, retired(event.version))


def _refuse_in_quarantine(draft: DeploymentDraft, event: object) -> None:
    if isinstance(event, commands.Wake) and event.by_traffic:
        sleep.wake(draft, event)
        return
    raise Unavailable(f"deployment {draft.state.id} is quarantined; resume it first", code="QUARANTINED")


P = Phase
_COMING = (P.STARTING, P.PULLING)
_UP = (P.READY, P.UPDATING)
_AWAKE = (*_COMING, *_UP, P.WAKING)
_RESTING = (P.ASLEEP, P.BACKING_OFF)
_WORKING = (*_AWAKE, *_RESTING, P.DRAINING)
_UNBORN = (P.WAITING_FOR_BUILD,)
_STUCK = (P.QUARANTINED,)
_IDLE = (*_UNBORN, *_STUCK, P.DONE)
_ALL = tuple(Phase)
_RISING = (P.STARTING, P.WAKING)
_LYING_DOWN = (P.ASLEEP, P.DRAINING)
_LOSING = (P.STARTING, P.READY, P.BACKING_OFF, P.DRAINING)


def _task_rules() -> Iterator[Rule]:
    """Facts about tasks: nothing to do where there are none."""
    yield Rule(events.TaskStopping, (*_COMING, *_UP), failure.task_stopping, _LOSING)
    yield Rule(events.TaskStopping, (P.WAKING,), failure.task_stopping, (P.BACKING_OFF, P.DRAINING))
    yield Rule(events.TaskStopping, (*_RESTING, P.DRAINING), failure.task_stopping, (P.DRAINING,))
    yield Rule(events.TaskExited, (*_COMING, *_UP), failure.task_exited, _LOSING)
    yield Rule(events.TaskExited, (P.WAKING,), failure.task_exited, (P.BACKING_OFF, P.DRAINING))
    yield Rule(events.TaskExited, (*_RESTING, P.DRAINING), failure.task_exited, (P.DRAINING,))
    yield Rule(events.TaskReady, (*_COMING, P.WAKING), _task_ready, _UP)
    yield Rule(events.TaskReady, (P.UPDATING,), _task_ready, (P.READY,))
    yield Rule(events.TaskReady, (P.READY,), _task_ready)
    yield Rule(events.TaskReady, (P.ASLEEP,), _task_ready, (P.READY,))
    yield Rule(events.TaskReady, (P.BACKING_OFF,), _task_ready, _UP)
    yield Rule(events.TaskReady, (P.DRAINING,), _task_ready, (P.STARTING, *_UP))
    yield Rule(events.TaskFrozen, (P.DRAINING,), sleep.task_frozen, _RESTING)
    yield Rule(events.TaskFrozen, _UP, sleep.task_frozen, (P.STARTING,))
    yield Rule(events.TaskFrozen, (*_COMING, P.WAKING, *_RESTING), sleep.task_frozen)
    yield Rule(events.TaskPulling, (P.STARTING,), images.task_pulling, (P.PULLING,))
    yield Rule(events.TaskPulling, (P.PULLING, *_UP, P.WAKING, *_RESTING, P.DRAINING), images.task_pulling)
    yield Rule(events.ImagePinned, (P.PULLING,), images.image_pinned, (P.STARTING,))
    yield Rule(events.ImagePinned, (P.STARTING, *_UP, P.WAKING, *_RESTING, P.DRAINING), images.image_pinned)
    yield Rule(events.TaskUnready, _UP, _task_unready, (P.STARTING,))
    yield Rule(events.TaskUnready, (*_COMING, P.WAKING, *_RESTING, P.DRAINING), _task_unready)
    yield Rule(events.TaskWaiting, (*_COMING, P.WAKING), ports.task_waiting, (P.DRAINING,))
    yield Rule(events.TaskWaiting, (*_UP, *_RESTING, P.DRAINING), ports.task_waiting)
    yield Rule(events.TaskEnded, (P.DRAINING,), failure.task_ended, (*_RESTING, P.DONE))
    yield Rule(events.TaskEnded, (*_AWAKE, *_RESTING), failure.task_ended)
    for event in _ABOUT_TASKS:
        yield Rule(event, _IDLE, ignore)


def _change_rules() -> Iterator[Rule]:
    """Another specification is wanted."""
    yield Rule(commands.Change, _COMING, changes.change, _LOSING)
    yield Rule(commands.Change, _UP, changes.change, (*_LOSING, P.UPDATING))
    yield Rule(commands.Change, (P.WAKING,), changes.change, (P.BACKING_OFF, P.DRAINING))
    # What stood still by another design ends.
    yield Rule(commands.Change, (P.ASLEEP,), changes.change, (*_RISING, P.DRAINING))
    yield Rule(commands.Change, (P.DRAINING,), changes.change, _RISING)
    yield Rule(commands.Change, (P.BACKING_OFF,), changes.change, (*_RISING, *_LYING_DOWN))
    yield Rule(commands.Change, (P.DONE,), changes.change)
    yield Rule(commands.Change, _UNBORN, changes.change_unborn, (P.STARTING, P.ASLEEP))


_COMMANDS: tuple[type, ...] = (
    commands.Change,
    commands.Restart,
    commands.Cancel,
    commands.Wake,
    commands.KeepAwake,
    commands.Sleep,
)
_ABOUT_TASKS: tuple[type, ...] = (
    events.TaskReady,
    events.TaskPulling,
    events.ImagePinned,
    events.TaskUnready,
    events.TaskFrozen,
    events.TaskStopping,
    events.TaskWaiting,
    events.TaskExited,
    events.TaskEnded,
)

TRANSITIONS = compile_rules(
    (
        Rule(events.Created, _ALL, ignore),
        *_change_rules(),
        Rule(commands.Restart, _COMING, changes.restart, (P.STARTING,)),
        Rule(commands.Restart, (P.WAKING, *_LYING_DOWN, P.DONE), changes.restart),
        Rule(commands.Restart, _UP, changes.restart, (P.STARTING, P.UPDATING)),
        Rule(commands.Restart, (P.BACKING_OFF,), changes.restart, _RISING),
        Rule(commands.Restart, _UNBORN, ignore),
        Rule(commands.Cancel, (*_AWAKE,), _cancel, (P.DRAINING,)),
        Rule(commands.Cancel, _RESTING, _cancel, (P.DRAINING, P.DONE)),
        Rule(commands.Cancel, _UNBORN, _cancel, (P.DONE,)),
        Rule(commands.Cancel, (P.DRAINING, P.DONE), _cancel),
        Rule(commands.Wake, (P.ASLEEP, P.DRAINING), sleep.wake, _RISING),
        Rule(commands.Wake, (P.BACKING_OFF,), sleep.wake, (*_RISING, *_LYING_DOWN)),
        Rule(commands.Wake, (P.DONE, *_UNBORN), sleep.wake),
        Rule(commands.KeepAwake, (P.ASLEEP, P.DRAINING), keeping.keep_awake, _RISING),
        Rule(commands.KeepAwake, (P.BACKING_OFF,), keeping.keep_awake, (*_RISING, *_LYING_DOWN)),
        Rule(commands.KeepAwake, (*_AWAKE, P.DONE, *_UNBORN), keeping.keep_awake),
        Rule(commands.Wake, _AWAKE, sleep.ask_again),
        Rule(commands.Sleep, _AWAKE, _sleep, (P.DRAINING,)),
        Rule(commands.Sleep, (P.BACKING_OFF,), _sleep, _LYING_DOWN),
        Rule(commands.Sleep, (P.ASLEEP, P.DRAINING, P.DONE, *_UNBORN), _sleep),
        *(Rule(command, _STUCK, _refuse_in_quarantine) for command in _COMMANDS),
        *_task_rules(),
        Rule(events.BuildSucceeded, _UNBORN, filling.build_succeeded, (P.STARTING, P.ASLEEP, P.DONE)),
        Rule(events.BuildSucceeded, tuple(phase for phase in _ALL if phase not in _UNBORN), ignore),
        Rule(events.BuildFailed, _UNBORN, filling.build_failed, (P.DONE,)),
        Rule(events.BuildFailed, tuple(phase for phase in _ALL if phase not in _UNBORN), ignore),
        Rule(events.Recovered, _ALL, recovered, (*_UNBORN, *_AWAKE, *_RESTING, P.DRAINING, P.DONE)),
        Rule(events.WentQuiet, _AWAKE, sleep.went_quiet),
        Rule(events.WentQuiet, (*_RESTING, P.DRAINING, *_IDLE), ignore),
        Rule(events.IdleClosed, _UP, sleep.idle_closed, (P.DRAINING,)),
        Rule(events.IdleClosed, tuple(phase for phase in _ALL if phase not in _UP), ignore),
        Rule(events.IdleRefused, _UP, sleep.idle_refused),
        Rule(events.IdleRefused, tuple(phase for phase in _ALL if phase not in _UP), ignore),
        Rule(events.DemandMeasured, _AWAKE, autoscale.demand_measured),
        Rule(events.DemandMeasured, (*_RESTING, P.DRAINING, *_IDLE), ignore),
        Rule(events.PortWanted, _AWAKE, ports.port_wanted, (P.DRAINING,)),
        Rule(events.PortWanted, (P.BACKING_OFF,), ports.port_wanted, _LYING_DOWN),
        Rule(events.Looked, _UP, keeping.looked),
        Rule(events.Looked, tuple(phase for phase in _ALL if phase not in _UP), ignore),
        Rule(events.MemoryShort, _RESTING, sleep.memory_short, (P.DRAINING,)),
        Rule(events.MemoryShort, (*_AWAKE, P.DRAINING, *_IDLE), ignore),
        Rule(events.PortWanted, (P.ASLEEP, P.DRAINING), ports.port_wanted, (P.DRAINING,)),
        Rule(events.PortWanted, _IDLE, ignore),
        Rule(events.PortReturned, (*_RESTING, P.DRAINING), ports.port_returned, _RISING),
        Rule(events.PortReturned, _AWAKE, ports.port_returned),
        Rule(events.PortReturned, _IDLE, ignore),
        Rule(events.BecameCurrent, (*_WORKING, P.DONE), _became_current),
        Rule(events.BecameCurrent, (*_UNBORN, *_STUCK), ignore),
        Rule(events.Superseded, (*_COMING, *_UP), _superseded, (P.DRAINING,)),
        Rule(events.Superseded, (P.BACKING_OFF,), _superseded, (*_LYING_DOWN, P.DONE)),
        Rule(events.Superseded, (P.ASLEEP,), _superseded, (P.DRAINING, P.DONE)),
        Rule(events.Superseded, _UNBORN, _superseded, (P.DONE,)),
        Rule(events.Superseded, (P.WAKING, P.DRAINING), _superseded),
        Rule(events.Superseded, (P.DONE, *_STUCK), ignore),
        Rule(events.Retired, _AWAKE, _retired, (P.DRAINING,)),
        Rule(events.Retired, _RESTING, _retired, (P.DRAINING, P.DONE)),
        Rule(events.Retired, (P.DRAINING,), _retired),
        Rule(events.Retired, _IDLE, ignore),
        Rule(events.TimerElapsed, _COMING, deadlines.time_elapsed, (P.BACKING_OFF, P.DRAINING)),
        Rule(events.TimerElapsed, _UP, deadlines.time_elapsed, (P.READY, P.STARTING)),
        Rule(events.TimerElapsed, (P.WAKING,), deadlines.time_elapsed, (P.DRAINING,)),
        Rule(events.TimerElapsed, (P.BACKING_OFF,), deadlines.time_elapsed, (*_RISING, *_LYING_DOWN, P.DONE)),
        Rule(events.TimerElapsed, (P.ASLEEP,), deadlines.time_elapsed, (P.DRAINING,)),
        Rule(events.TimerElapsed, (P.DRAINING, *_UNBORN), deadlines.time_elapsed),
        Rule(events.TimerElapsed, (P.DONE, *_STUCK), ignore),
    )
)
