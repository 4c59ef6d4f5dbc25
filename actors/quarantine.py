"""What follows from an actor that failed too often: its row says so, and nobody waits for it any longer.

Called by the supervisor on a pool thread, after the mailbox stopped taking messages. A deployment keeps the tasks it
has and refuses what they cannot take, until it is resumed. A task is expendable: it is ended, and its deployment judges
that like any other end. So is a build: it has failed, and the next one has its turn.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from actors.build import BuildYard, run_of
from actors.messages import Key, Lane
from actors.supervisor import Failure
from actors.world import World
from platformd import clock
from platformd.domain import events
from platformd.domain.build import happenings as build_happenings
from platformd.domain.build.state import Build, BuildState
from platformd.domain.build.state import Phase as BuildPhase
from platformd.domain.build.verdict import verdict_of
from platformd.domain.deployment import happenings
from platformd.domain.deployment.routing import routing
from platformd.domain.deployment.state import Deployment, Phase
from platformd.domain.notice import reason_data
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import ProcessType
from platformd.domain.task import Task, TaskPhase
from platformd.domain.task import happenings as task_happenings

_log = structlog.get_logger("quarantine")


def quarantine(world: World, yard: BuildYard | None, key: Key, failure: Failure) -> None:
    """Write down that the actor of `key` is out of service because of `failure`. `yard` is where builds are made, None
    where there are none."""
    if key.kind == "deployment":
        deployment = world.store.deployment(key.id)
        if deployment is not None:
            _hold(world, deployment, failure)
    elif key.kind == "task":
        task = world.store.task(key.id)
        if task is not None and not task.phase.final:
            _end(world, task, failure)
    elif key.kind == "build" and yard is not None:
        build = world.store.build(key.id)
        if build is not None and build.phase is not BuildPhase.DONE:
            _give_up(world, yard, build, failure)


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


def _give_up(world: World, yard: BuildYard, build: Build, failure: Failure) -> None:
    reason = Reason(
        code="BUILD_QUARANTINED", message=f"its actor failed too often, last with {failure.error}"
    )
    _end_work(world, yard, build)
    at = clock.steady()
    ended = replace(
        build,
        state=build.state if build.state.final else BuildState.FAILED,
        phase=BuildPhase.DONE,
        reason=build.reason or reason,
        run_id=None,
        handle=None,
        retry_at=None,
        ended_at=build.ended_at or at,
        updated_at=at,
        revision=build.revision + 1,
    )
    world.store.save_behind(ended, build_happenings.notices(build, ended))
    verdict = verdict_of(ended)
    if build.deployment_id is not None and verdict is not None:
        world.directory.tell(Key("deployment", build.deployment_id), verdict, Lane.FACT)
    yard.turns.leave(build.id)


def _end_work(world: World, yard: BuildYard, build: Build) -> None:
    """As `_kill`; the next start removes its folder, too."""
    try:
        yard.workshop.end(build.id)
        if build.run_id is not None:
            world.drivers[ProcessType.TISH].kill(run_of(build, build.run_id))
    except Exception:
        _log.exception("the work of a quarantined build could not be ended", build_id=build.id)


def _kill(world: World, task: Task) -> None:
    """Even if the driver is what fails: what it leaves alive is a stray that the next start ends."""
    deployment = world.store.deployment(task.deployment_id)
    if deployment is None:
        return
    try:
        world.drivers[deployment.spec_of(task.generation).process_type].kill(task)
    except Exception:
        _log.exception("the process of a quarantined task could not be ended", task_id=task.id)
