"""The task's state machine: the table of what can happen in which phase, and `step`.

Pure. Driven by `actors.task`; the deployment hears of it through `Report` effects.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from platformd.domain import commands, effects, events, policy
from platformd.domain.effects import Moment, TaskEffect
from platformd.domain.machine import Draft, Rule, Step, compile_rules, ignore
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task.state import ALIVE, StopStage, Task, TaskPhase

TaskDraft = Draft[Task, TaskEffect]
_BEFORE_STOP = (TaskPhase.PENDING, *ALIVE)
_FINAL = (TaskPhase.STOPPED, TaskPhase.FAILED)
TERMINATED = Reason(code="STOPPED", message="was stopped on request")
_KILL_PATIENCE = timedelta(seconds=10)
_CLOSE_PATIENCE = timedelta(seconds=2)


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
    draft = _Draft(task, moment, spec)
    rule.handler(draft, event)
    if draft.state == task:
        return Step(task, tuple(draft.effects))
    draft.set(revision=task.revision + 1, updated_at=moment.at)
    return Step(draft.state, tuple(draft.effects))


class _Draft(TaskDraft):
    """A task being worked on, with the specification it runs under."""

    __slots__ = ("spec",)

    def __init__(self, state: Task, moment: Moment, spec: DeploymentSpec) -> None:
        super().__init__(state, moment)
        self.spec = spec

    def report(self, fact: events.DeploymentFact) -> None:
        self.order(effects.Report(fact))


# ---- coming to life ----------------------------------------------------------------------------------------


def _launch(draft: _Draft, event: commands.Launch) -> None:
    draft.order(effects.LaunchTask())


def _launched(draft: _Draft, event: events.Launched) -> None:
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


def _launched_while_stopping(draft: _Draft, event: events.Launched) -> None:
    _launched(draft, event)
    draft.set(phase=TaskPhase.STOPPING)
    if draft.state.stop_stage is StopStage.LAUNCHING:
        _signal(draft)
    elif draft.state.stop_stage in (StopStage.KILLED, StopStage.SWEEPING):
        draft.order(effects.Kill())


def _launched_too_late(draft: _Draft, event: events.Launched) -> None:
    """It was given up before that was known."""
    draft.order(effects.Kill())


def _waits(draft: _Draft, event: events.LaunchWaits) -> None:
    draft.set(reason=event.reason, retry_at=draft.at + policy.PORT_RETRY)
    draft.report(events.TaskWaiting(draft.state.id, event.reason))


def _never_began(draft: _Draft, event: events.LaunchFailed) -> None:
    draft.set(phase=TaskPhase.FAILED, reason=event.reason, ended_at=draft.at, retry_at=None)
    draft.report(events.TaskExited(draft.state.id, Exit(), asked=False, reason=event.reason))
    _gone(draft)


def _not_begun_while_stopping(draft: _Draft, event: events.LaunchFailed | events.LaunchWaits) -> None:
    if draft.state.stop_stage in (StopStage.LAUNCHING, StopStage.KILLED) and draft.state.started_at is None:
        _stopped_unborn(draft)


def _probed(draft: _Draft, event: events.Probed) -> None:
    draft.set(phase=TaskPhase.RUNNING, address=event.address, ready_at=draft.at)
    draft.report(events.TaskReady(draft.state.id, event.address))


def _health_missed(draft: _Draft, event: events.HealthMissed) -> None:
    draft.report(events.TaskUnready(draft.state.id))


def _health_restored(draft: _Draft, event: events.HealthRestored) -> None:
    draft.report(events.TaskReady(draft.state.id, draft.state.address))


def _health_lost(draft: _Draft, event: events.HealthLost) -> None:
    draft.set(reason=event.reason)
    draft.report(events.TaskStopping(draft.state.id, event.reason))
    _begin_stop(draft, policy.DRAIN)


def _recount(draft: _Draft, event: commands.Recount) -> None:
    for fact in _account(draft.state):
        draft.report(fact)


# ---- being stopped -----------------------------------------------------------------------------------------


def _stop(draft: _Draft, event: commands.Stop) -> None:
    _asked(draft, event)
    _begin_stop(draft, event.drain)


def _stop_unborn(draft: _Draft, event: commands.Stop) -> None:
    waits_for_a_port = draft.state.retry_at is not None
    _asked(draft, event)
    draft.set(retry_at=None)
    if waits_for_a_port:
        _stopped_unborn(draft)
        return
    deadline = draft.at + _KILL_PATIENCE
    draft.set(phase=TaskPhase.STOPPING, stop_stage=StopStage.LAUNCHING, stop_deadline=deadline)


def _asked(draft: _Draft, event: commands.Stop) -> None:
    draft.set(reason=event.reason, asked=True, stop_grace_secs=_seconds(event.grace))
    draft.report(events.TaskStopping(draft.state.id, event.reason, asked=True))


def _terminate(draft: _Draft, event: commands.Terminate) -> None:
    _stop(draft, commands.Stop(TERMINATED, policy.DRAIN))


def _terminate_unborn(draft: _Draft, event: commands.Terminate) -> None:
    _stop_unborn(draft, commands.Stop(TERMINATED))


def _hurry(draft: _Draft, event: commands.Stop) -> None:
    """A second stop can only make the first one faster."""
    if event.grace is not None:
        draft.set(stop_grace_secs=min(_grace(draft), event.grace.total_seconds()))
    if draft.state.stop_stage is StopStage.CLOSING and not event.drain:
        _signal(draft)
    elif draft.state.stop_stage is StopStage.SIGNALLED and event.grace is not None:
        sooner = draft.at + event.grace
        draft.set(stop_deadline=min(sooner, draft.state.stop_deadline or sooner))


def _begin_stop(draft: _Draft, drain: timedelta) -> None:
    draft.set(phase=TaskPhase.STOPPING)
    if not drain or draft.state.ready_at is None or not draft.spec.serves:
        _signal(draft)
        return
    deadline = draft.at + drain + _CLOSE_PATIENCE
    draft.set(stop_stage=StopStage.CLOSING, stop_deadline=deadline)
    draft.order(effects.CloseInGateway(drain))


def _closed(draft: _Draft, event: events.Closed) -> None:
    if draft.state.stop_stage is StopStage.CLOSING:
        _signal(draft)


def _signal(draft: _Draft) -> None:
    deadline = draft.at + timedelta(seconds=_grace(draft))
    draft.set(stop_stage=StopStage.SIGNALLED, stop_deadline=deadline)
    draft.order(effects.Signal(draft.spec.stop.signal))


def _grace(draft: _Draft) -> float:
    """How long it may take after the signal, in seconds."""
    own = draft.state.stop_grace_secs
    return draft.spec.stop.grace_secs if own is None else own


def _kill(draft: _Draft) -> None:
    draft.set(stop_stage=StopStage.KILLED, stop_deadline=draft.at + _KILL_PATIENCE)
    draft.order(effects.Kill())


def _stopped_unborn(draft: _Draft) -> None:
    draft.set(phase=TaskPhase.STOPPED, stop_stage=None, stop_deadline=None, retry_at=None, ended_at=draft.at)
    draft.report(events.TaskExited(draft.state.id, Exit(), asked=True, reason=draft.state.reason))
    _gone(draft)


def _seconds(limit: timedelta | None) -> float | None:
    return None if limit is None else limit.total_seconds()


# ---- ending ------------------------------------------------------------------------------------------------


def _exited(draft: _Draft, event: events.Exited) -> None:
    if draft.state.exit is not None:
        return
    draft.set(
        phase=TaskPhase.STOPPING,
        stop_stage=StopStage.SWEEPING,
        stop_deadline=draft.at + _KILL_PATIENCE,
        retry_at=None,
        exit=event.exit,
        ended_at=draft.at,
    )
    task = draft.state
    draft.report(events.TaskExited(task.id, event.exit, asked=task.asked, reason=task.reason))
    draft.order(effects.Sweep())


def _swept(draft: _Draft, event: events.Swept) -> None:
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
    _gone(draft)


def _swept_again(draft: _Draft, event: events.Swept) -> None:
    draft.order(effects.Forget())


def _gone(draft: _Draft) -> None:
    draft.report(events.TaskEnded(draft.state.id))
    draft.order(effects.Forget())


# ---- time --------------------------------------------------------------------------------------------------


def _time_while_pending(draft: _Draft, event: events.TimerElapsed) -> None:
    if draft.passed(draft.state.retry_at):
        draft.set(retry_at=None)
        draft.order(effects.LaunchTask())


def _time_while_alive(draft: _Draft, event: events.TimerElapsed) -> None:
    if not draft.passed(draft.state.max_runtime_deadline):
        return
    limit = draft.spec.max_runtime_secs
    reason = Reason(code="MAX_RUNTIME", message=f"ran for its max_runtime_secs of {limit:g} s")
    draft.set(reason=reason)
    draft.report(events.TaskStopping(draft.state.id, reason))
    _begin_stop(draft, policy.DRAIN)


def _time_while_stopping(draft: _Draft, event: events.TimerElapsed) -> None:
    if not draft.passed(draft.state.stop_deadline):
        return
    match draft.state.stop_stage:
        case StopStage.CLOSING:
            _signal(draft)
        case StopStage.LAUNCHING | StopStage.SIGNALLED:
            _kill(draft)
        case StopStage.KILLED:
            _exited(draft, events.Exited(Exit(unknown=True)))
        case StopStage.SWEEPING:
            draft.set(stop_deadline=draft.at + _KILL_PATIENCE)
            draft.order(effects.Sweep())


P = TaskPhase
TRANSITIONS = compile_rules(
    (
        Rule(commands.Launch, (P.PENDING,), _launch),
        Rule(commands.Launch, (*ALIVE, P.STOPPING, *_FINAL), ignore),
        Rule(commands.Stop, (P.PENDING,), _stop_unborn, (P.STOPPING, P.STOPPED)),
        Rule(commands.Stop, ALIVE, _stop, (P.STOPPING,)),
        Rule(commands.Stop, (P.STOPPING,), _hurry),
        Rule(commands.Stop, _FINAL, ignore),
        Rule(commands.Terminate, (P.PENDING,), _terminate_unborn, (P.STOPPING, P.STOPPED)),
        Rule(commands.Terminate, ALIVE, _terminate, (P.STOPPING,)),
        Rule(commands.Terminate, (P.STOPPING, *_FINAL), ignore),
        Rule(commands.Recount, tuple(P), _recount),
        Rule(events.Launched, (P.PENDING,), _launched, (P.STARTING,)),
        Rule(events.Launched, (P.STOPPING,), _launched_while_stopping),
        Rule(events.Launched, ALIVE, ignore),
        Rule(events.Launched, _FINAL, _launched_too_late),
        Rule(events.LaunchWaits, (P.PENDING,), _waits),
        Rule(events.LaunchWaits, (P.STOPPING,), _not_begun_while_stopping, (P.STOPPING, P.STOPPED)),
        Rule(events.LaunchWaits, (*ALIVE, *_FINAL), ignore),
        Rule(events.LaunchFailed, (P.PENDING,), _never_began, (P.FAILED,)),
        Rule(events.LaunchFailed, (P.STOPPING,), _not_begun_while_stopping, (P.STOPPING, P.STOPPED)),
        Rule(events.LaunchFailed, (*ALIVE, *_FINAL), ignore),
        Rule(events.Probed, (P.STARTING,), _probed, (P.RUNNING,)),
        Rule(events.Probed, (P.PENDING, P.RUNNING, P.STOPPING, *_FINAL), ignore),
        Rule(events.HealthMissed, (P.RUNNING,), _health_missed),
        Rule(events.HealthMissed, (P.PENDING, P.STARTING, P.STOPPING, *_FINAL), ignore),
        Rule(events.HealthRestored, (P.RUNNING,), _health_restored),
        Rule(events.HealthRestored, (P.PENDING, P.STARTING, P.STOPPING, *_FINAL), ignore),
        Rule(events.HealthLost, (P.RUNNING,), _health_lost, (P.STOPPING,)),
        Rule(events.HealthLost, (P.PENDING, P.STARTING, P.STOPPING, *_FINAL), ignore),
        Rule(events.Closed, (P.STOPPING,), _closed),
        Rule(events.Closed, (*_BEFORE_STOP, *_FINAL), ignore),
        Rule(events.Exited, (*_BEFORE_STOP, P.STOPPING), _exited, (P.STOPPING,)),
        Rule(events.Exited, _FINAL, ignore),
        Rule(events.Swept, (P.STOPPING,), _swept, (P.STOPPING, P.STOPPED, P.FAILED)),
        Rule(events.Swept, _BEFORE_STOP, ignore),
        Rule(events.Swept, _FINAL, _swept_again),
        Rule(events.TimerElapsed, (P.PENDING,), _time_while_pending),
        Rule(events.TimerElapsed, ALIVE, _time_while_alive, (P.STOPPING,)),
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
        case TaskPhase.STOPPING, StopStage.CLOSING:
            again = (effects.CloseInGateway(policy.DRAIN),)
        case TaskPhase.STOPPING, StopStage.KILLED:
            again = (effects.Kill(),)
        case TaskPhase.STOPPING, StopStage.SWEEPING:
            again = (effects.Sweep(),)
    return (*(effects.Report(fact) for fact in _account(task)), *again)


def _account(task: Task) -> tuple[events.DeploymentFact, ...]:
    """What its deployment would know of it now, had it heard everything."""
    match task.phase:
        case TaskPhase.RUNNING:
            return (events.TaskReady(task.id, task.address),)
        case TaskPhase.STOPPING if task.exit is not None:
            return (events.TaskExited(task.id, task.exit, task.asked, task.reason),)
        case TaskPhase.STOPPING:
            return (events.TaskStopping(task.id, task.reason or TERMINATED, task.asked),)
        case TaskPhase.STOPPED | TaskPhase.FAILED:
            exited = events.TaskExited(task.id, task.exit or Exit(), task.asked, task.reason)
            return (exited, events.TaskEnded(task.id))
    return ()
