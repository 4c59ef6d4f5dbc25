"""What is said at GitHub beside a commit, and what is kept of having said it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from platformd.domain.build.state import Build, BuildState
from platformd.domain.build.state import Phase as BuildPhase
from platformd.domain.deployment.state import Deployment, Status
from platformd.domain.operations import Operation
from platformd.domain.snapshot import Reason

_SHORT = 8


class State(StrEnum):
    """GitHub's own words. `ERROR` is for what was not tried to its end."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """`build_id` is the build that this is about; `preview_host` where the result is to be seen."""

    build_id: str
    state: State
    description: str
    preview_host: str | None = None

    @property
    def settled(self) -> bool:
        """True when nothing more is to be said of this build."""
        return self.state is not State.PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """`refusal` is why GitHub would not take it; it is not tried again for this build."""

    build_id: str
    state: State
    settled: bool
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSaid(Operation[None]):
    """What GitHub was told last about a commit in an environment."""

    app_id: str
    environment: str
    commit_sha: str
    said: Said
    at: datetime


def to_say(sha: str, attempts: Sequence[tuple[Build, Deployment | None]], said: Said | None) -> Saying | None:
    """What is to be said now of the commit `sha`, None when that was said. `attempts` are the builds that were asked
    for with it in mind, or that built it, newest first, each with its deployment."""
    chosen = next((attempt for attempt in attempts if _is_about(sha, attempt[0])), None)
    if chosen is None and attempts:
        chosen = attempts[0]
    if chosen is None:
        return None
    saying = _of_build(sha, *chosen)
    if said is not None and said.build_id == saying.build_id and (said.settled or said.state is saying.state):
        return None
    return saying


def _is_about(sha: str, build: Build) -> bool:
    """Not of one that was given up, or that found a newer commit when it began."""
    return build.state is not BuildState.CANCELLED and (build.commit is None or build.commit.sha == sha)


def _of_build(sha: str, build: Build, deployment: Deployment | None) -> Saying:
    if build.commit is not None and build.commit.sha != sha:
        newer = build.commit.sha[:_SHORT]
        return _saying(build, State.ERROR, f"Superseded by {newer}, which was there when the build began")
    match build.state:
        case BuildState.QUEUED:
            return _saying(build, State.PENDING, "Waiting to be built")
        case BuildState.RUNNING:
            return _saying(build, State.PENDING, "Being built")
        case BuildState.FAILED:
            return _saying(build, State.FAILURE, _why(build.reason, "The build failed"))
        case BuildState.CANCELLED:
            return _saying(build, State.ERROR, _why(build.reason, "The build was cancelled"))
    if deployment is not None:
        return _of_deployment(build, deployment)
    if build.phase is not BuildPhase.DONE:
        return _saying(build, State.PENDING, "Being deployed")
    if build.spec is not None:
        return _saying(build, State.FAILURE, _why(build.reason, "It was built and could not be deployed"))
    return _saying(build, State.SUCCESS, "Built")


def _of_deployment(build: Build, deployment: Deployment) -> Saying:
    version = f"Version {deployment.identity.version}"
    host = deployment.identity.preview_host
    if deployment.ever_ready or deployment.status in (Status.RUNNING, Status.SUCCEEDED):
        return _saying(build, State.SUCCESS, f"{version} is deployed to {build.environment}", host)
    match deployment.status:
        case Status.FAILED:
            why = _why(deployment.reason, f"{version} failed to start")
            return _saying(build, State.FAILURE, why, host)
        case Status.CANCELLED:
            return _saying(build, State.ERROR, _why(deployment.reason, f"{version} was cancelled"), host)
    return _saying(build, State.PENDING, f"{version} is starting")


def _saying(build: Build, state: State, description: str, host: str | None = None) -> Saying:
    return Saying(build_id=build.id, state=state, description=description, preview_host=host)


def _why(reason: Reason | None, otherwise: str) -> str:
    return otherwise if reason is None else f"{reason.code}: {reason.message}"
