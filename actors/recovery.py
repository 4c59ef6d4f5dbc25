"""After a start: bring what the rows remember and what really lives together, then wake the actors it concerns.

Called once by `platformd.app`, before anything is asked of actors, with the keeper's list of tasks. Making an actor is
recovering it: it compares its row with reality in its first turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog

from actors.deployment import MeetTasks, PursueAddress
from actors.messages import Key, ShuttingDown
from actors.world import World
from platformd import clock
from platformd.domain.deployment.recovery import HOST_RESTARTED
from platformd.domain.deployment.state import Deployment
from platformd.domain.effects import Moment, StartTask
from platformd.domain.events import Launched
from platformd.domain.snapshot import Reason
from platformd.domain.task import Task, TaskPhase
from platformd.domain.task.transitions import new_task, step
from platformd.ids import new_id

_log = structlog.get_logger("recovery")
ENDED_AT_ONCE = 32
SERVICE_STOPPED = Reason(code="SERVICE_STOPPED", message="the service stopped and took its tasks along")


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found: how many `deployments` were awake, and the `known` tasks; what else lives is a stray."""

    deployments: int
    known: tuple[str, ...]


def recover(world: World, records: Iterable[Mapping[str, Any]], host_restarted: bool) -> Recovery:
    """Rows for tasks that only the keeper knows, then an actor for everything that is not at rest.

    `records` are the keeper's `task` packets. Tasks of unknown deployments are left to the driver to end.
    """
    for record in records:
        _remember(world, record)
    if host_restarted:
        _bury_former_boot(world)
    tasks = world.store.live_tasks()
    owners = {task.deployment_id for task in tasks} | set(world.store.awake_deployments())
    for deployment_id in owners:
        world.directory.tell(Key("deployment", deployment_id), MeetTasks())
    for task in tasks:
        world.directory.activate(Key("task", task.id))
    return Recovery(deployments=len(owners), known=tuple(task.id for task in tasks))


def pursue_addresses(world: World) -> None:
    """Have each deployment that its environment's row disagrees with say what it wants. Reads all there are, on any
    thread."""
    with contextlib.suppress(ShuttingDown):
        for deployment_id in world.store.contested():
            world.directory.tell(Key("deployment", deployment_id), PursueAddress())


def _remember(world: World, record: Mapping[str, Any]) -> None:
    """Make the task's row say at least what the keeper knows."""
    deployment = world.store.deployment(record["deployment"])
    if deployment is None:
        _log.warning("a task of an unknown deployment is ended", task_id=record["task"])
        return
    task = world.store.task(record["task"])
    if task is not None and task.phase is not TaskPhase.PENDING:
        return
    started_at = clock.steady_from_boot_ns(record["boot_ns"])
    known = task or _unremembered(deployment, record, started_at)
    launched = Launched(handle=handle_of(record), at=started_at, pid=record["pid"], address=_address(record))
    moment = Moment(clock.steady(), 0.0, lambda _: new_id())
    world.store.save_behind(step(known, deployment.spec_of(known.generation), launched, moment).state)


def _unremembered(deployment: Deployment, record: Mapping[str, Any], at: datetime) -> Task:
    """A crash took back the row: the task as it was when it was ordered."""
    slot = record["slot"] or 0
    order = StartTask(
        task_id=record["task"],
        slot=slot,
        generation=record["generation"] or deployment.generation,
        restarts=deployment.restarts.get(slot, 0),
    )
    return new_task(order, deployment.id, deployment.identity.app_id, at)


def handle_of(record: Mapping[str, Any]) -> dict[str, object]:
    """The native driver's handle, completed by what the keeper knows."""
    return {**record["handle"], "pid": record["pid"], "start_time": record["start_time"]}


def _address(record: Mapping[str, Any]) -> tuple[str, int] | None:
    port = record["handle"].get("port")
    return None if port is None else ("127.0.0.1", port)


def _bury_former_boot(world: World) -> None:
    """Nothing outlives a reboot: the rows say so, and the deployments start what was awake again."""
    for task in world.store.live_tasks():
        _bury(world, task, HOST_RESTARTED)


def _bury(world: World, task: Task, reason: Reason) -> None:
    ended = replace(
        task,
        phase=TaskPhase.STOPPED,
        asked=True,
        stop_stage=None,
        stop_deadline=None,
        retry_at=None,
        reason=reason,
        ended_at=clock.steady(),
        revision=task.revision + 1,
    )
    world.store.save_behind(ended)


def end_all(world: World) -> None:
    """For an orderly end that takes the tasks along: signal, wait out the grace, kill. Actors are gone by now.

    Blocks, on a thread of its own. The rows say that the tasks ended, so the next start begins them anew.
    """
    with ThreadPoolExecutor(ENDED_AT_ONCE) as pool:
        for ended in [pool.submit(_end, world, task) for task in world.store.live_tasks()]:
            ended.result()
    for driver in world.drivers.values():
        driver.put_away()


def _end(world: World, task: Task) -> None:
    deployment = world.store.deployment(task.deployment_id)
    if deployment is not None:
        spec = deployment.spec_of(task.generation)
        world.drivers[spec.process_type].end(task, spec.stop)
    _bury(world, task, SERVICE_STOPPED)
