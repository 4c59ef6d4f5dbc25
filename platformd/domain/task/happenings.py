"""What people read of a task's step. Pure. Called by `actors.task` after every step that changed something; that a
task exited, and what comes next, is its deployment's to say."""

from __future__ import annotations

from platformd.domain.notice import Notice, reason_data
from platformd.domain.task.state import Task


def notices(before: Task, after: Task) -> tuple[Notice, ...]:
    """One for a change of state, or that something else about it is new."""
    how = after.phase.value if after.phase is not before.phase else "updated"
    return (changed(after, how),)


def changed(task: Task, how: str) -> Notice:
    """`task` is `how` now."""
    return Notice(
        kind="task",
        type=f"task.{how}",
        app_id=task.app_id,
        deployment_id=task.deployment_id,
        task_id=task.id,
        revision=task.revision,
        data={
            "state": task.phase.shown.value,
            "slot": task.slot,
            "generation": task.generation,
            "restarts": task.restarts,
            "reason": reason_data(task.reason),
        },
    )
