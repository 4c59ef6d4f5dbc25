"""What follows from an actor that failed too often: its row says so, and nobody waits for it any longer.

Called by the supervisor on a pool thread, after the mailbox stopped taking messages. A deployment keeps the tasks it
has and refuses what they cannot take, until it is resumed. A task is expendable: it is ended, and its deployment judges
that like any other end.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from actors.messages import Key, Lane
from actors.supervisor import Failure
from actors.world import World
from platformd import clock
from platformd.domain import events
from platformd.domain.deployment import happenings
from platformd.domain.deployment.routing import routing
from platformd.domain.deployment.state import Deployment, Phase
from platformd.domain.notice import reason_data
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.task import Task, TaskPhase
from platformd.domain.task import happenings as task_happenings

_log = structlog.get_logger("quarantine")


def quarantine(world: World, key: Key, failure: Failure) -> None:
    """Write down that the actor of `key` is out of service because of `failure`."""
    if key.kind == "deployment":
        deployment = world.store.deployment(key.id)
        if deployment is not None:
            _hold(world, deployment, failure)
    elif key.kind == "task":
        task = world.store.task(key.id)
        if task is not None and not task.phase.final:
            _end(world, task, failure)


def _hold(world: World, deployment: Deployment, failure: Failure) -> None:
    reason = Reason(
        code="QUARANTINED",
        message=f"its actor failed too often, last with {failure.error}; resume it once the cause is gone",
    )
    revision = deployment.revision + 1
    held = replace(
        deployment,
        phase=Phase.QUARANTINED,
        reason=deployment.reason if deployment.status.final else reason,
        revision=revision,
        updated_at=clock.steady(),
    )
    notice = happenings.notice_of(held, "deployment.quarantined", reason=reason_data(reason))
    world.store.save_behind(held, (notice,))
    world.traffic.route(held.id, None, routing(held))


def _end(world: World, task: Task, failure: Failure) -> None:
    reason = Reason(code="TASK_QUARANTINED", message=f"its actor failed too often, last with {failure.error}")
    _kill(world, task)
    at, revision = clock.steady(), task.revision + 1
    ended = replace(
        task,
        phase=TaskPhase.FAILED,
        stop_stage=None,
        stop_deadline=None,
        retry_at=None,
        exit=task.exit or Exit(unknown=True),
        reason=reason,
        ended_at=task.ended_at or at,
        updated_at=at,
        revision=revision,
    )
    world.store.save_behind(ended, (task_happenings.changed(ended, ended.phase.value),))
    owner = Key("deployment", task.deployment_id)
    exited = events.TaskExited(task.id, Exit(unknown=True), asked=task.asked, reason=reason)
    world.directory.tell(owner, exited, Lane.FACT)
    world.directory.tell(owner, events.TaskEnded(task.id), Lane.FACT)


def _kill(world: World, task: Task) -> None:
    """Even if the driver is what fails: what it leaves alive is a stray that the next start ends."""
    deployment = world.store.deployment(task.deployment_id)
    if deployment is None:
        return
    try:
        world.drivers[deployment.spec_of(task.generation).process_type].kill(task)
    except Exception:
        _log.exception("the process of a quarantined task could not be ended", task_id=task.id)
