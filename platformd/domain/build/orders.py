"""What can be written about builds in one piece. Pure records, carried out by `store.building`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from platformd.domain.build.state import Build, Origin
from platformd.domain.deployment.state import Deployment
from platformd.domain.operations import CreateDeployment, Operation
from platformd.domain.spec import DeploymentSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A build that somebody wants of an app, for one of its environments.

    `ref` is a commit, tag or branch; without it the head of `branch` (None: the source's) is built, whatever that is
    when the build starts. `upload` is the digest of an uploaded tree to build instead of the repository.

    When the build succeeds `spec`, completed by its artifact or image, is deployed to `environment`; or the deployment
    `deployment_id`, which waits for it, is filled in. With neither, the newest deployment of the environment that waits
    for a build is filled in, if there is one.

    A build that a webhook wants cancels (SUPERSEDED) those of the same app, environment and branch that webhooks wanted
    and that are still queued, and is cancelled itself should its commit turn out to be built already.
    """

    app_id: str
    environment: str
    origin: Origin
    branch: str | None = None
    ref: str | None = None
    upload: str | None = None
    spec: DeploymentSpec | None = None
    deployment_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A build, and the deployment that was made with it or of it, if one was."""

    build: Build
    made: Deployment | None = None

    @property
    def id(self) -> str:
        return self.build.id


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBuild(Operation[Delivered]):
    """Queue what is wanted, by the recipe the app's source has now; in one piece with `waiting`, if that is given: the
    deployment that waits for it. NotFound APP_NOT_FOUND, Conflict SOURCE_NOT_CONFIGURED and as `CreateDeployment`."""

    wanted: Wanted
    waiting: CreateDeployment | None = None
    timeout_secs: float
    at: datetime


@dataclass(frozen=True, slots=True)
class SaveBuild(Operation[Build]):
    snapshot: Build


@dataclass(frozen=True, slots=True)
class ForgetBuilds(Operation[int]):
    """Drop these, of which nothing runs any more: how many there were."""

    ids: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployBuild(Operation[Delivered]):
    """What a build that has succeeded is for, in one piece with its row: a deployment of its `spec` is made, or the one
    that waits for it is found; then the build is done. Again: nothing.

    NotFound, Conflict as `CreateDeployment`; Conflict ENVIRONMENT_HELD when a webhook asked for it and the environment
    is held after a rollback.
    """

    build: Build
    domain: str
    at: datetime
    steady: datetime
