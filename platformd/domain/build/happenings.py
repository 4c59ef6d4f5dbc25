"""What people read of a build's step. Pure. Called by `actors.build` after every step that changed something, and by
whoever queues one."""

from __future__ import annotations

from platformd.domain.build.state import Build
from platformd.domain.notice import Notice, reason_data


def notices(before: Build, after: Build) -> tuple[Notice, ...]:
    """One for a change of state, or that something else about it is new."""
    if after.state is not before.state:
        return (changed(after, after.state.value),)
    return (changed(after, "updated"),) if after.revision != before.revision else ()


def changed(build: Build, how: str) -> Notice:
    """`build` is `how` now."""
    return Notice(
        kind="build",
        type=f"build.{how}",
        app_id=build.app_id,
        deployment_id=build.deployment_id,
        build_id=build.id,
        revision=build.revision,
        data={
            "state": build.state.value,
            "phase": build.phase.value,
            "environment": build.environment,
            "origin": build.origin.value,
            "branch": build.branch,
            "sha": build.commit.sha if build.commit else None,
            "reason": reason_data(build.reason),
        },
    )
