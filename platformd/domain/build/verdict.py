"""What a deployment that waits for a build hears of it. Pure."""

from __future__ import annotations

from platformd.domain import events
from platformd.domain.build.state import Build, BuildState


def verdict_of(build: Build) -> events.BuildSucceeded | events.BuildFailed | None:
    """None while nobody knows."""
    if not build.state.final:
        return None
    if build.state is BuildState.SUCCEEDED:
        return events.BuildSucceeded(
            build.id, build.recipe.kind.makes, build.artifact_id, build.image, build.digests, build.commit
        )
    assert build.reason is not None
    return events.BuildFailed(build.id, build.reason)
