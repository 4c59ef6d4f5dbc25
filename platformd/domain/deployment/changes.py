"""Another specification in place: scaled, made by another design, or replaced by its like.

Pure. Handlers of the transitions table. What tasks are made by is rolled out by `rollout.settle`; while asleep it is
only taken note of, and the next wake starts by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from platformd.domain import commands
from platformd.domain.deployment import sleep
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.resting import sleep_or_finish
from platformd.domain.deployment.state import Goal, Phase, Status
from platformd.domain.spec import DeploymentSpec, ProcessType, contradictions
from platformd.errors import Fault, Invalid


def change(draft: DeploymentDraft, event: commands.Change) -> None:
    draft.refuse_if_finished("changed")
    state = draft.state
    spec = changed(state.spec, event)
    wanted_now = state.target if state.goal is Goal.AWAKE else 0
    if spec == state.spec and event.replicas in (None, wanted_now):
        return
    _take(draft, spec)
    if event.replicas == 0:
        _scale_to_zero(draft)
        return
    if event.replicas is not None:
        _want(draft, spec.awake_replicas)
    if draft.state.goal is Goal.AWAKE:
        begin_progress(draft)
    if event.replicas is not None:
        sleep_or_finish(draft, Status.SUCCEEDED, None)


def change_unborn(draft: DeploymentDraft, event: commands.Change) -> None:
    """Taken note of until there is something to start; an image is."""
    spec = changed(draft.state.spec, event)
    if spec == draft.state.spec:
        return
    draft.set(spec=spec, generation=draft.state.generation + 1)
    if event.replicas:
        draft.set(full=spec.awake_replicas, target=spec.awake_replicas)
    if spec.image is None:
        return
    draft.set(phase=Phase.STARTING)
    if spec.replicas == 0:
        sleep.born_asleep(draft)
    else:
        begin_progress(draft)


def restart(draft: DeploymentDraft, event: commands.Restart) -> None:
    """What sleeps starts anew anyway."""
    draft.refuse_if_finished("restarted")
    if draft.state.goal is Goal.AWAKE:
        draft.redesign(draft.state.spec)
        begin_progress(draft)


def changed(spec: DeploymentSpec, event: commands.Change) -> DeploymentSpec:
    """`spec` as the change would have it; Invalid with everything in the whole of it that cannot be."""
    said: dict[str, Any] = {
        "replicas": event.replicas,
        "process_type": event.process_type,
        "image": event.image,
        "volumes": event.volumes,
        "resources": event.resources and replace(spec.resources, **_said(event.resources)),
    }
    after = replace(spec, **{name: value for name, value in said.items() if value is not None})
    if after.process_type is ProcessType.DOCKER and spec.process_type is ProcessType.TISH:
        after = replace(after, artifact_id=None)
    faults = [_pointed(fault, said) for fault in (*contradictions(after), *_nothing_to_run(spec, after))]
    if faults:
        raise Invalid(f"the specification would contradict itself: {faults[0].message}", faults=faults)
    return after


def _said(resources: commands.ResourcesChange) -> dict[str, Any]:
    values = {
        "cpu": resources.cpu,
        "memory": resources.memory,
        "cpu_policy": resources.cpu_policy,
    }
    return {name: value for name, value in values.items() if value is not None}


def _nothing_to_run(before: DeploymentSpec, after: DeploymentSpec) -> list[Fault]:
    """What had something to run must have it afterwards."""
    if after.artifact_id or after.image or not (before.artifact_id or before.image):
        return []
    if after.process_type is ProcessType.DOCKER:
        return [Fault("/image", "a docker deployment needs an image; name it in the same request")]
    message = "a native deployment needs an artifact_id, which cannot be changed; create another deployment"
    return [Fault("/process_type", message)]


def _pointed(fault: Fault, said: Mapping[str, object]) -> Fault:
    """At the key of the request that brought it about."""
    key = fault.pointer.split("/")[1]
    if said.get(key) is not None or key in ("image", "process_type"):
        return replace(fault, pointer=f"/spec{fault.pointer}")
    culprit = next(
        name for name in ("replicas", "process_type", "volumes", "image") if said[name] is not None
    )
    return replace(fault, pointer=f"/spec/{culprit}")


def _take(draft: DeploymentDraft, spec: DeploymentSpec) -> None:
    """A new generation; tasks go on as they are when only the count is another."""
    state = draft.state
    if replace(spec, replicas=state.spec.replicas) == state.spec:
        draft.set(spec=spec, generation=state.generation + 1)
    else:
        draft.redesign(spec)


def _want(draft: DeploymentDraft, wanted: int) -> None:
    draft.set(full=wanted)
    if draft.state.goal is Goal.ASLEEP:
        sleep.rise(draft)
    resting = frozenset(slot for slot in draft.state.resting if slot < wanted)
    draft.set(target=wanted, resting=resting)


def begin_progress(draft: DeploymentDraft) -> None:
    limit = timedelta(seconds=draft.state.spec.progress_deadline_secs)
    draft.set(progress_deadline=draft.at + limit)


def _scale_to_zero(draft: DeploymentDraft) -> None:
    if draft.state.status is Status.PENDING:
        sleep.born_asleep(draft)
    else:
        sleep.fall_asleep(draft)
