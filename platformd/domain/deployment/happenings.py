"""What people read of a deployment's step: which notices follow from the state before, the state after and the event.

Pure. Called by `actors.deployment` after every step that changed something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime

from platformd.domain import commands, events
from platformd.domain.deployment.state import Deployment, Goal, Stage
from platformd.domain.notice import Notice, reason_data
from platformd.domain.snapshot import Exit
from platformd.domain.spec import DeploymentSpec


def notices(before: Deployment, after: Deployment, event: object) -> tuple[Notice, ...]:
    """In the order in which they happened."""
    found = (
        *_exits(before, after, event),
        *_spec(before, after),
        *_phase(before, after),
        *_wake(before, after, event),
        *_address(before, after),
    )
    if after.revision == before.revision or any(notice.revision == after.revision for notice in found):
        return found
    return (*found, _notice(after, "deployment.updated", _state(after)))


def created(deployment: Deployment) -> Notice:
    """Its row is there."""
    return _notice(deployment, "deployment.created", _state(deployment))


def notice_of(deployment: Deployment, type: str, **data: object) -> Notice:
    """Anything else about `deployment`, as it is after what happened."""
    return _notice(deployment, type, data)


def _exits(before: Deployment, after: Deployment, event: object) -> Iterator[Notice]:
    """Each exit once: of tasks whose end was not known before this step."""
    ended: tuple[events.TaskExited, ...] = ()
    if isinstance(event, events.TaskExited):
        ended = (event,)
    elif isinstance(event, events.Recovered):
        ended = tuple(end for end in event.ended if isinstance(end, events.TaskExited))
    for exited in ended:
        member = next((known for known in before.members if known.task_id == exited.task_id), None)
        if member is None or member.stage is Stage.ENDING:
            continue
        yield Notice(
            kind="task",
            type="task.exited",
            app_id=after.identity.app_id,
            deployment_id=after.id,
            task_id=exited.task_id,
            data={
                "slot": member.slot,
                "asked": exited.asked,
                **_end(exited.exit),
                "reason": reason_data(exited.reason),
                "next_try_in_secs": _next_try(after),
            },
        )


def _end(exit: Exit) -> dict[str, object]:
    return {
        "exit_code": exit.code,
        "signal": exit.signal,
        "oom_killed": exit.oom_killed,
        "last_lines": list(exit.last_lines),
    }


def _next_try(after: Deployment) -> float | None:
    """Seconds until a task is started again by itself, or may be by a request; None when nobody needs to wait."""
    return None if after.retry_at is None else _seconds(after.updated_at, after.retry_at)


def _spec(before: Deployment, after: Deployment) -> Iterator[Notice]:
    if after.origin < before.origin:
        steps = {"from": before.origin, "to": after.origin, "generation": after.generation}
        yield _notice(after, "deployment.rolled_back", {**steps, "reason": reason_data(after.reason)})
    elif after.origin != before.origin and after.spec == before.spec:
        yield _notice(after, "deployment.restarted", {"generation": after.generation})
    if after.spec == before.spec:
        return
    changed = _differences(before.spec, after.spec)
    if changed.pop("replicas", None):
        yield _notice(
            after,
            "deployment.scaled",
            {
                "replicas": after.spec.replicas,
                "before": before.spec.replicas,
                "generation": after.generation,
            },
        )
    if changed:
        data = {"fields": sorted(changed), "generation": after.generation}
        yield _notice(after, "deployment.changed", data)


def _differences(before: DeploymentSpec, after: DeploymentSpec) -> dict[str, bool]:
    names = (field.name for field in fields(DeploymentSpec))
    return {name: True for name in names if getattr(before, name) != getattr(after, name)}


def _phase(before: Deployment, after: Deployment) -> Iterator[Notice]:
    if after.phase is not before.phase:
        data = {**_state(after), "before": before.phase.value}
        yield _notice(after, f"deployment.{after.phase.value}", data)


def _wake(before: Deployment, after: Deployment, event: object) -> Iterator[Notice]:
    """A wake lasts as long as there is a deadline for it."""
    if before.wake_deadline == after.wake_deadline:
        return
    if after.wake_deadline is not None:
        traffic = isinstance(event, commands.Wake) and event.by_traffic
        yield _notice(after, "wake.started", {"by": "traffic" if traffic else "request"})
        return
    assert before.wake_deadline is not None
    left = _seconds(after.updated_at, before.wake_deadline)
    took = round((before.spec.wake.timeout_secs - left) * 1000, 1)
    if after.ready and after.goal is Goal.AWAKE:
        yield _notice(after, "wake.ready", {"duration_ms": took, "ready": after.tasks_ready})
    else:
        reason = reason_data(after.reason)
        yield _notice(after, "wake.failed", {"duration_ms": took, "reason": reason})


def _address(before: Deployment, after: Deployment) -> Iterator[Notice]:
    environment = after.identity.environment
    if after.current and not before.current:
        yield _notice(after, "deployment.current", {"environment": environment})
    if before.current and not after.current:
        yield _notice(after, "deployment.not_current", {"environment": environment})
    if after.superseded_by is not None and after.superseded_by != before.superseded_by:
        yield _notice(after, "deployment.superseded", {"by": after.superseded_by, "environment": environment})


def _state(state: Deployment) -> dict[str, object]:
    return {
        "status": state.status.value,
        "phase": state.phase.value,
        "version": state.identity.version,
        "environment": state.identity.environment,
        "ready": state.tasks_ready,
        "total": state.tasks_total,
        "reason": reason_data(state.reason),
        "next_try_in_secs": _next_try(state),
    }


def _seconds(since: datetime, until: datetime) -> float:
    return round((until - since).total_seconds(), 3)


def _notice(state: Deployment, type: str, data: Mapping[str, object]) -> Notice:
    return Notice(
        kind=type.partition(".")[0],
        type=type,
        app_id=state.identity.app_id,
        deployment_id=state.id,
        revision=state.revision,
        data=data,
    )
