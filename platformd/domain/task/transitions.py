"""The task's state machine: the table of what can happen in which phase, and `step`.

Pure. Driven by `actors.task`; the deployment hears of it through `Report` effects.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from platformd.domain import commands, effects, events, policy
from platformd.domain.effects import Moment, TaskEffect
from platformd.domain.machine import Rule, Step, compile_rules, ignore
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task import freezing, stopping
from platformd.domain.task.draft import TaskDraft
from platformd.domain.task.state import ALIVE, LIVING, LYING, StopStage, Task, TaskPhase

_BORN = (*LIVING, TaskPhase.STOPPING)
_FINAL = (TaskPhase.STOPPED, TaskPhase.FAILED)


def new_task(order: effects.StartTask, deployment_id: str, app_id: str, at: datetime) -> Task:
    """The task a deployment's StartTask means."""
    return Task(
        id=order.task_id,
        deployment_id=deployment_id,
        app_id=app_id,
        slot=order.slot,
        generation=order.generation,
        restarts=order.restarts,
        created_at=at,
        updated_at=at,
    )


def step(task: Task, spec: DeploymentSpec, event: object, moment: Moment) -> Step[Task, TaskEffect]:
    """What `event` makes of `task` under `spec`. What changes nothing gives back the very same state."""
    rule = TRANSITIONS.get((task.phase, type(event)))
    if rule is None:
        return Step(task)
    draft = TaskDraft(task, moment, spec)
    rule.handler(draft, event)
    if draft.state == task:
        return Step(task, tuple(draft.effects))
    draft.set(revision=task.revision + 1, updated_at=moment.at)
    return Step(draft.state, tuple(draft.effects))


# ---- coming to life ----------------------------------------------------------------------------------------


def _launch(draft: TaskDraft, event: commands.Launch) -> None:
    draft.order(effects.LaunchTask())


def _launched(draft: TaskDraft, event: events.Launched) -> None:
    runtime = draft.spec.max_runtime_secs
    draft.set(
        phase=TaskPhase.STARTING,
        handle=event.handle,
        pid=event.pid,
        container_id=event.container_id,
        address=event.address,
        started_at=event.at,
        reason=draft.state.reason if draft.state.asked else None,
        retry_at=None,
        max_runtime_deadline=event.at + timedelta(seconds=runtime) if runtime else None,
    )


def _launched_while_stopping(draft: TaskDraft, event: events.Launched) -> None:
    _launched(draft, event)
    draft.set(phase=TaskPhase.STOPPING)
    if draft.state.stop_stage is StopStage.LAUNCHING:
        stopping.begin_stop(draft, policy.DRAIN)
    elif draft.state.stop_stage in (StopStage.KILLED, StopStage.SWEEPING):
        draft.order(effects.Kill())


def _launched_too_late(draft: TaskDraft, event: events.Launched) -> None:
    """It was given up before that was known."""
    draft.order(effects.Kill())


def _image_wanted(draft: TaskDraft, event: events.ImageWanted) -> None:
    draft.report(events.TaskPulling(draft.state.id))


def _image_found(draft: TaskDraft, event: events.ImageFound) -> None:
    draft.report(events.ImagePinned(draft.state.id, event.image, event.digest))


def _waits(draft: TaskDraft, event: events.LaunchWaits) -> None:
    draft.set(reason=event.reason, retry_at=draft.at + policy.PORT_RETRY)
    draft.report(events.TaskWaiting(draft.state.id, event.reason))


def _never_began(draft: TaskDraft, event: events.LaunchFailed) -> None:
    draft.set(phase=TaskPhase.FAILED, reason=event.reason, ended_at=draft.at, retry_at=None)
    draft.report(events.TaskExited(draft.state.id, Exit(), asked=False, reason=event.reason))
    stopping.gone(draft)


def _not_begun_while_stopping(draft: TaskDraft, event: events.LaunchFailed | events.LaunchWaits) -> None:
    if draft.state.stop_stage in (StopStage.LAUNCHING, StopStage.KILLED) and draft.state.started_at is None:
        stopping.stopped_unborn(draft)


def _probed(draft: TaskDraft, event: events.Probed) -> None:
    draft.set(phase=TaskPhase.RUNNING, address=event.address, ready_at=draft.at)
    draft.report(events.TaskReady(draft.state.id, event.address))


def _health_missed(draft: TaskDraft, event: events.HealthMissed) -> None:
    draft.report(events.TaskUnready(draft.state.id))


def _health_restored(draft: TaskDraft, event: events.HealthRestored) -> None:
    draft.report(events.TaskReady(draft.state.id, draft.state.address))


def _health_lost(draft: TaskDraft, event: events.HealthLost) -> None:
    draft.set(reason=event.reason)
    draft.report(events.TaskStopping(draft.state.id, event.reason))
    stopping.begin_stop(draft, policy.DRAIN)


def _recount(draft: TaskDraft, event: commands.Recount) -> None:
    for fact in _account(draft.state):
        draft.report(fact)


# ---- ending ------------------------------------------------------------------------------------------------


def _exited(draft: TaskDraft, event: events.Exited) -> None:
    if draft.state.exit is not None:
        return
    draft.set(
        phase=TaskPhase.STOPPING,
        stop_stage=StopStage.SWEEPING,
        stop_deadline=draft.at + stopping.KILL_PATIENCE,
        retry_at=None,
        exit=event.exit,
        ended_at=draft.at,
    )
    task = draft.state
    draft.report(events.TaskExited(task.id, event.exit, asked=task.asked, reason=task.reason))
    draft.order(effects.Sweep())


def _swept(draft: TaskDraft, event: events.Swept) -> None:
    task = draft.state
    if task.exit is None:
        return
    well = task.asked or (task.exit.clean and task.reason is None)
    draft.set(
        phase=TaskPhase.STOPPED if well else TaskPhase.FAILED,
        stop_stage=None,
        stop_deadline=None,
        max_runtime_deadline=None,
    )
    stopping.gone(draft)


def _swept_again(draft: TaskDraft, event: events.Swept) -> None:
    draft.order(effects.Forget())


# ---- time --------------------------------------------------------------------------------------------------


def _time_while_pending(draft: TaskDraft, event: events.TimerElapsed) -> None:
    if draft.passed(draft.state.retry_at):
        draft.set(retry_at=None)
        draft.order(effects.LaunchTask())


def _time_while_alive(draft: TaskDraft, event: events.TimerElapsed) -> None:
    if draft.passed(draft.state.max_runtime_deadline):
        _outlived(draft)
        stopping.begin_stop(draft, policy.DRAIN)


def _time_while_lying(draft: TaskDraft, event: events.TimerElapsed) -> None:
    """Its max runtime counts while it stands still."""
    if draft.passed(draft.state.max_runtime_deadline):
        _outlived(draft)
        freezing.rouse_and_stop(draft, policy.DRAIN)
    elif not draft.passed(draft.state.stop_deadline):
        return
    elif draft.state.stop_stage is StopStage.CLOSING:
        freezing.stand_still(draft, events.Closed())
    else:
        freezing.not_frozen(draft, events.FreezeFailed(freezing.NOT_FROZEN))


def _outlived(draft: TaskDraft) -> None:
    limit = draft.spec.max_runtime_secs
    reason = Reason(code="MAX_RUNTIME", message=f"ran for its max_runtime_secs of {limit:g} s")
    draft.set(reason=reason)
    draft.report(events.TaskStopping(draft.state.id, reason))


def _time_while_stopping(draft: TaskDraft, event: events.TimerElapsed) -> None:
    if not draft.passed(draft.state.stop_deadline):
        return
    match draft.state.stop_stage:
        case StopStage.CLOSING:
            stopping.signal(draft)
        case StopStage.LAUNCHING | StopStage.SIGNALLED:
            stopping.kill(draft)
        case StopStage.KILLED:
            _exited(draft, events.Exited(Exit(unknown=True)))
        case StopStage.SWEEPING:
            draft.set(stop_deadline=draft.at + stopping.KILL_PATIENCE)
            draft.order(effects.Sweep())


P = TaskPhase
TRANSITIONS = compile_rules(
    (
        Rule(commands.Launch, (P.PENDING,), _launch),
        Rule(commands.Launch, (*_BORN, *_FINAL), ignore),
        Rule(commands.Stop, (P.PENDING,), stopping.stop_unborn, (P.STOPPING, P.STOPPED)),
        Rule(commands.Stop, ALIVE, stopping.stop, (P.STOPPING,)),
        Rule(commands.Stop, LYING, freezing.stop_lying, (P.STOPPING,)),
        Rule(commands.Stop, (P.STOPPING,), stopping.hurry),
        Rule(commands.Stop, _FINAL, ignore),
        Rule(commands.Terminate, (P.PENDING,), stopping.terminate_unborn, (P.STOPPING, P.STOPPED)),
        Rule(commands.Terminate, ALIVE, stopping.terminate, (P.STOPPING,)),
        Rule(commands.Terminate, LYING, freezing.terminate_lying, (P.STOPPING,)),
        Rule(commands.Terminate, (P.STOPPING, *_FINAL), ignore),
        Rule(commands.Recount, tuple(P), _recount),
        Rule(commands.Freeze, (P.RUNNING,), freezing.freeze, (P.FREEZING,)),
        Rule(commands.Freeze, tuple(phase for phase in P if phase is not P.RUNNING), ignore),
        Rule(commands.Thaw, LYING, freezing.thaw, (P.RUNNING,)),
        Rule(commands.Thaw, tuple(phase for phase in P if phase not in LYING), _recount),
        Rule(events.Launched, (P.PENDING,), _launched, (P.STARTING,)),
        Rule(events.Launched, (P.STOPPING,), _launched_while_stopping),
        Rule(events.Launched, LIVING, ignore),
        Rule(events.Launched, _FINAL, _launched_too_late),
        Rule(events.ImageWanted, (P.PENDING,), _image_wanted),
        Rule(events.ImageWanted, (*ALIVE, *LYING, P.STOPPING, *_FINAL), ignore),
        Rule(events.ImageFound, (P.PENDING,), _image_found),
        Rule(events.ImageFound, (*ALIVE, *LYING, P.STOPPING, *_FINAL), ignore),
        Rule(events.LaunchWaits, (P.PENDING,), _waits),
        Rule(events.LaunchWaits, (P.STOPPING,), _not_begun_while_stopping, (P.STOPPING, P.STOPPED)),
        Rule(events.LaunchWaits, (*LIVING, *_FINAL), ignore),
        Rule(events.LaunchFailed, (P.PENDING,), _never_began, (P.FAILED,)),
        Rule(events.LaunchFailed, (P.STOPPING,), _not_begun_while_stopping, (P.STOPPING, P.STOPPED)),
        Rule(events.LaunchFailed, (*LIVING, *_FINAL), ignore),
        Rule(events.Probed, (P.STARTING,), _probed, (P.RUNNING,)),
        Rule(events.Probed, (P.PENDING, P.RUNNING, *LYING, P.STOPPING, *_FINAL), ignore),
        Rule(events.HealthMissed, (P.RUNNING,), _health_missed),
        Rule(events.HealthMissed, (P.PENDING, P.STARTING, *LYING, P.STOPPING, *_FINAL), ignore),
        Rule(events.HealthRestored, (P.RUNNING,), _health_restored),
        Rule(events.HealthRestored, (P.PENDING, P.STARTING, *LYING, P.STOPPING, *_FINAL), ignore),
        Rule(events.HealthLost, (P.RUNNING,), _health_lost, (P.STOPPING,)),
        Rule(events.HealthLost, (P.PENDING, P.STARTING, *LYING, P.STOPPING, *_FINAL), ignore),
        Rule(events.Closed, (P.STOPPING,), stopping.closed),
        Rule(events.Closed, (P.FREEZING,), freezing.stand_still),
        Rule(events.Closed, (P.PENDING, *ALIVE, P.FROZEN, *_FINAL), ignore),
        Rule(events.Frozen, (P.FREEZING,), freezing.frozen, (P.FROZEN,)),
        Rule(events.Frozen, tuple(phase for phase in P if phase is not P.FREEZING), ignore),
        Rule(events.Thawed, LYING, freezing.runs_again, (P.RUNNING,)),
        Rule(events.Thawed, tuple(phase for phase in P if phase not in LYING), ignore),
        Rule(events.FreezeFailed, (P.FREEZING,), freezing.not_frozen, (P.STOPPING,)),
        Rule(events.FreezeFailed, tuple(phase for phase in P if phase is not P.FREEZING), ignore),
        Rule(events.Exited, (P.PENDING, *LIVING, P.STOPPING), _exited, (P.STOPPING,)),
        Rule(events.Exited, _FINAL, ignore),
        Rule(events.Swept, (P.STOPPING,), _swept, (P.STOPPING, P.STOPPED, P.FAILED)),
        Rule(events.Swept, (P.PENDING, *LIVING), ignore),
        Rule(events.Swept, _FINAL, _swept_again),
        Rule(events.TimerElapsed, (P.PENDING,), _time_while_pending),
        Rule(events.TimerElapsed, ALIVE, _time_while_alive, (P.STOPPING,)),
        Rule(events.TimerElapsed, LYING, _time_while_lying, (P.STOPPING,)),
        Rule(events.TimerElapsed, (P.STOPPING,), _time_while_stopping),
        Rule(events.TimerElapsed, _FINAL, ignore),
    )
)


def pursue(task: Task) -> tuple[TaskEffect, ...]:
    """What an unfinished task needs done again after its actor was made anew: orders that are safe to repeat."""
    again: tuple[TaskEffect, ...] = ()
    match task.phase, task.stop_stage:
        case TaskPhase.PENDING, _ if task.retry_at is None:
            again = (effects.LaunchTask(),)
        case TaskPhase.FREEZING, StopStage.CLOSING:
            again = (effects.CloseInGateway(policy.DRAIN, for_good=False),)
        case TaskPhase.STOPPING, StopStage.CLOSING:
            again = (effects.CloseInGateway(policy.DRAIN),)
        case TaskPhase.STOPPING, StopStage.KILLED:
            again = (effects.Kill(),)
        case TaskPhase.STOPPING, StopStage.SWEEPING:
            again = (effects.Sweep(),)
    return (*(effects.Report(fact) for fact in _account(task)), *again)


def ending(task: Task) -> events.TaskExited | events.TaskStopping:
    """What its deployment is told of one that is stopping."""
    if task.exit is not None:
        return events.TaskExited(task.id, task.exit, task.asked, task.reason)
    return events.TaskStopping(task.id, task.reason or stopping.TERMINATED, task.asked)


def _account(task: Task) -> tuple[events.DeploymentFact, ...]:
    """What its deployment would know of it now, had it heard everything."""
    match task.phase:
        case TaskPhase.RUNNING:
            return (events.TaskReady(task.id, task.address),)
        case TaskPhase.FROZEN:
            return (events.TaskFrozen(task.id),)
        case TaskPhase.STOPPING:
            return (ending(task),)
        case TaskPhase.STOPPED | TaskPhase.FAILED:
            exited = events.TaskExited(task.id, task.exit or Exit(), task.asked, task.reason)
            return (exited, events.TaskEnded(task.id))
    return ()
