"""A task that stands still and goes on again. Pure. Handlers of the transitions table."""

from __future__ import annotations

from datetime import timedelta

from platformd.domain import commands, effects, events, policy
from platformd.domain.snapshot import Reason
from platformd.domain.task import stopping
from platformd.domain.task.draft import TaskDraft
from platformd.domain.task.state import StopStage, TaskPhase

NOT_FROZEN = Reason(code="FREEZE_FAILED", message="could not be frozen in time; it is stopped instead")
_FREEZE_PATIENCE = timedelta(seconds=10)


def freeze(draft: TaskDraft, event: commands.Freeze) -> None:
    """Out of balance, what is in flight ends, and then it stands still."""
    deadline = draft.at + event.drain + stopping.CLOSE_PATIENCE
    draft.set(phase=TaskPhase.FREEZING, stop_stage=StopStage.CLOSING, stop_deadline=deadline)
    draft.order(effects.CloseInGateway(event.drain, for_good=False))


def stand_still(draft: TaskDraft, event: events.Closed) -> None:
    if draft.state.stop_stage is not StopStage.CLOSING:
        return
    draft.set(stop_stage=None, stop_deadline=draft.at + _FREEZE_PATIENCE)
    draft.order(effects.Freeze())


def frozen(draft: TaskDraft, event: events.Frozen) -> None:
    draft.set(phase=TaskPhase.FROZEN, stop_stage=None, stop_deadline=None)
    draft.report(events.TaskFrozen(draft.state.id))


def thaw(draft: TaskDraft, event: commands.Thaw) -> None:
    """It was ready and still is: nothing to probe."""
    untouched = draft.state.stop_stage is StopStage.CLOSING
    if not untouched:
        draft.order(effects.Thaw())
    runs_again(draft, event)


def runs_again(draft: TaskDraft, event: commands.Thaw | events.Thawed) -> None:
    draft.set(phase=TaskPhase.RUNNING, stop_stage=None, stop_deadline=None)
    draft.report(events.TaskReady(draft.state.id, draft.state.address))


def not_frozen(draft: TaskDraft, event: events.FreezeFailed) -> None:
    """What cannot stand still is stopped: it was to sleep in any case."""
    draft.set(reason=event.reason, asked=True)
    draft.report(events.TaskStopping(draft.state.id, event.reason, asked=True))
    rouse_and_stop(draft, timedelta(0))


def rouse_and_stop(draft: TaskDraft, drain: timedelta) -> None:
    """Thawed before any signal. One that has not been frozen yet may have requests in flight."""
    if draft.state.stop_stage is StopStage.CLOSING:
        draft.set(stop_stage=None, stop_deadline=None)
        stopping.begin_stop(draft, drain)
        return
    draft.order(effects.Thaw())
    draft.set(phase=TaskPhase.STOPPING)
    stopping.signal(draft)


def stop_lying(draft: TaskDraft, event: commands.Stop) -> None:
    stopping.asked(draft, event)
    rouse_and_stop(draft, event.drain)


def terminate_lying(draft: TaskDraft, event: commands.Terminate) -> None:
    stop_lying(draft, commands.Stop(stopping.TERMINATED, policy.DRAIN))
