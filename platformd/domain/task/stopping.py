"""A task that is asked to end: out of the balance, signalled, killed. Pure. Handlers of the transitions table."""

from __future__ import annotations

from datetime import timedelta

from platformd.domain import commands, effects, events, policy
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.task.draft import TaskDraft
from platformd.domain.task.state import StopStage, TaskPhase

TERMINATED = Reason(code="STOPPED", message="was stopped on request")
KILL_PATIENCE = timedelta(seconds=10)
CLOSE_PATIENCE = timedelta(seconds=2)


def stop(draft: TaskDraft, event: commands.Stop) -> None:
    asked(draft, event)
    begin_stop(draft, event.drain)


def stop_unborn(draft: TaskDraft, event: commands.Stop) -> None:
    waits_for_a_port = draft.state.retry_at is not None
    asked(draft, event)
    draft.set(retry_at=None)
    if waits_for_a_port:
        stopped_unborn(draft)
        return
    deadline = draft.at + KILL_PATIENCE
    draft.set(phase=TaskPhase.STOPPING, stop_stage=StopStage.LAUNCHING, stop_deadline=deadline)


def asked(draft: TaskDraft, event: commands.Stop) -> None:
    draft.set(reason=event.reason, asked=True, stop_grace_secs=_seconds(event.grace))
    draft.report(events.TaskStopping(draft.state.id, event.reason, asked=True))


def terminate(draft: TaskDraft, event: commands.Terminate) -> None:
    stop(draft, commands.Stop(TERMINATED, policy.DRAIN))


def terminate_unborn(draft: TaskDraft, event: commands.Terminate) -> None:
    stop_unborn(draft, commands.Stop(TERMINATED))


def hurry(draft: TaskDraft, event: commands.Stop) -> None:
    """A second stop can only make the first one faster."""
    if event.grace is not None:
        draft.set(stop_grace_secs=min(_grace(draft), event.grace.total_seconds()))
    if draft.state.stop_stage is StopStage.CLOSING and not event.drain:
        signal(draft)
    elif draft.state.stop_stage is StopStage.SIGNALLED and event.grace is not None:
        sooner = draft.at + event.grace
        draft.set(stop_deadline=min(sooner, draft.state.stop_deadline or sooner))


def begin_stop(draft: TaskDraft, drain: timedelta) -> None:
    """Out of the balance first, also before it is known to be ready: the gateway may have opened it already, because it
    fired its wake or was told of it before a crash."""
    draft.set(phase=TaskPhase.STOPPING)
    if not drain or not draft.spec.serves:
        signal(draft)
        return
    deadline = draft.at + drain + CLOSE_PATIENCE
    draft.set(stop_stage=StopStage.CLOSING, stop_deadline=deadline)
    draft.order(effects.CloseInGateway(drain))


def closed(draft: TaskDraft, event: events.Closed) -> None:
    if draft.state.stop_stage is StopStage.CLOSING:
        signal(draft)


def signal(draft: TaskDraft) -> None:
    deadline = draft.at + timedelta(seconds=_grace(draft))
    draft.set(stop_stage=StopStage.SIGNALLED, stop_deadline=deadline)
    draft.order(effects.Signal(draft.spec.stop.signal))


def _grace(draft: TaskDraft) -> float:
    """How long it may take after the signal, in seconds."""
    own = draft.state.stop_grace_secs
    return draft.spec.stop.grace_secs if own is None else own


def kill(draft: TaskDraft) -> None:
    draft.set(stop_stage=StopStage.KILLED, stop_deadline=draft.at + KILL_PATIENCE)
    draft.order(effects.Kill())


def stopped_unborn(draft: TaskDraft) -> None:
    draft.set(phase=TaskPhase.STOPPED, stop_stage=None, stop_deadline=None, retry_at=None, ended_at=draft.at)
    draft.report(events.TaskExited(draft.state.id, Exit(), asked=True, reason=draft.state.reason))
    gone(draft)


def _seconds(limit: timedelta | None) -> float | None:
    return None if limit is None else limit.total_seconds()


def gone(draft: TaskDraft) -> None:
    draft.report(events.TaskEnded(draft.state.id))
    draft.order(effects.Forget())
