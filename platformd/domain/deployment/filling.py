"""What waits for a build is filled in by it, or learns that nothing comes. Pure. Handlers of the transitions table."""

from __future__ import annotations

from dataclasses import replace

from platformd.domain import effects, events
from platformd.domain.deployment import sleep
from platformd.domain.deployment.changes import begin_progress
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.state import Phase, Status
from platformd.domain.snapshot import Reason


def build_succeeded(draft: DeploymentDraft, event: events.BuildSucceeded) -> None:
    """It starts as one that was created with it; only its sha stays what it was."""
    state = draft.state
    if event.makes is not state.spec.process_type:
        wanted = (
            f"process_type {state.spec.process_type}, and build {event.build_id} made one for {event.makes}"
        )
        draft.finish(Status.FAILED, Reason(code="BUILD_MISMATCH", message=f"it has {wanted}"))
        return
    spec = replace(state.spec, artifact_id=event.artifact_id, image=event.image)
    draft.set(
        spec=spec,
        digests={**event.digests, **state.digests},
        commit=event.commit or state.commit,
        build_id=event.build_id,
        phase=Phase.STARTING,
    )
    draft.order(effects.SystemLine(f"filled in by build {event.build_id}"))
    if spec.replicas == 0:
        sleep.born_asleep(draft)
    else:
        begin_progress(draft)


def build_failed(draft: DeploymentDraft, event: events.BuildFailed) -> None:
    """Whatever came of the build is why nothing comes of this."""
    draft.set(build_id=event.build_id)
    message = f"build {event.build_id}: {event.reason.message}"
    draft.finish(Status.FAILED, replace(event.reason, code="BUILD_FAILED", message=message))
