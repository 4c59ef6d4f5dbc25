"""What a build is at one instant. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from platformd.domain.snapshot import Commit, Reason
from platformd.domain.source import Recipe
from platformd.domain.spec import DeploymentSpec


class BuildState(StrEnum):
    """What clients see; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED)


class Phase(StrEnum):
    """What is going on. One that is `ending` has a final state already, or is to begin again, and still has something
    that runs."""

    QUEUED = "queued"
    FETCHING = "fetching"
    BUILDING = "building"
    STORING = "storing"
    DEPLOYING = "deploying"
    ENDING = "ending"
    DONE = "done"


class Origin(StrEnum):
    """Who asked for it."""

    WEBHOOK = "webhook"
    TRIGGER = "trigger"
    API = "api"
    REBUILD = "rebuild"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build of an app for one of its environments.

    What is built: `ref` (a commit, tag or branch) if it is given, else the head of `branch` when the build starts, or
    the uploaded tree with the digest `upload`. `commit` is known once it was fetched. How: `recipe` and `repository`,
    as the source had them when it was asked for.

    What for: `spec` is what to deploy when it succeeds, `deployment_id` the deployment that waits for it, or that it
    made. With neither, it fills in the newest that waits for a build in its environment, if one does.

    `run_id` names its process while the command runs, `handle` finds that again. `attempt` counts its beginnings: a
    build that was under way when the service ended begins again, within the same `deadline`.
    """

    id: str
    app_id: str
    app_name: str
    environment: str
    origin: Origin
    repository: str
    branch: str | None = None
    ref: str | None = None
    upload: str | None = None
    commit: Commit | None = None
    recipe: Recipe
    spec: DeploymentSpec | None = None
    deployment_id: str | None = None
    state: BuildState = BuildState.QUEUED
    phase: Phase = Phase.QUEUED
    reason: Reason | None = None
    superseded_by: str | None = None
    artifact_id: str | None = None
    image: str | None = None
    image_digest: str | None = None
    attempt: int = 0
    run_id: str | None = None
    handle: Mapping[str, object] | None = None
    timeout_secs: float
    deadline: datetime | None = None
    retry_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    revision: int = 1
    created_at: datetime
    updated_at: datetime

    @property
    def next_deadline(self) -> datetime | None:
        """The earliest instant at which time alone changes it."""
        deadline = None if self.state.final else self.deadline
        return min((at for at in (deadline, self.retry_at) if at is not None), default=None)

    @property
    def place(self) -> tuple[str, str]:
        """Builds of one place run one after the other."""
        return self.app_id, self.environment

    @property
    def digests(self) -> dict[str, str]:
        """What the image it made means."""
        return {} if self.image is None or self.image_digest is None else {self.image: self.image_digest}

    def filled(self, spec: DeploymentSpec) -> DeploymentSpec:
        """`spec` with what the build has made."""
        return replace(spec, artifact_id=self.artifact_id, image=self.image)
