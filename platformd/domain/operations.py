"""What can be written in one piece: each operation is stored whole or not at all, and then answers with its result.

Pure records. Made by handlers and actors, given to `store.commit`; the store's `operations` module carries them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from platformd.domain.deployment.state import Deployment
from platformd.domain.requests import RequestKey
from platformd.domain.snapshot import App, Artifact, Commit
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task import Task
from platformd.domain.variables import Precedence

T_co = TypeVar("T_co", covariant=True)


class Operation(Generic[T_co]):
    """A write whose result is a `T_co`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateApp(Operation[App]):
    """With its environments development and production and their addresses under `domain`.

    Conflict SUBDOMAIN_TAKEN when one of its addresses belongs to somebody.
    """

    name: str
    namespace: str = "default"
    description: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    domain: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDeployment(Operation[Deployment]):
    """The app's next version, pending. `at` is the wall clock, `steady` the instant deadlines count from.

    Makes the environment when it is new, and keeps the variables as they are now with the deployment. NotFound
    APP_NOT_FOUND, Invalid with the pointer /artifact_id for an unknown artifact, Conflict ARTIFACT_INCOMPLETE for one
    without bytes, Conflict HOSTNAME_TAKEN when a new environment's address belongs to somebody. `promoted_from` a
    deployment that has been ready it begins asleep where nobody is awake: it is the next wake's. `commit` is what
    it was built from by `build_id`, unless it is promoted; `digests` are what images are known to mean.
    """

    app_id: str
    environment: str
    spec: DeploymentSpec
    domain: str
    at: datetime
    steady: datetime
    commit: Commit | None = None
    build_id: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    precedence: Precedence = Precedence.DEPLOYMENT
    promoted_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who an environment's address leads to after a claim: `current` is None when it was released by a newer version.

    `previous` is whom it led to before, `older_pending` the pending deployments of the environment that are older than
    the claimant, `retired` the superseded ones beyond those that are kept.
    """

    won: bool
    current: str | None
    current_version: int
    previous: str | None
    older_pending: tuple[str, ...]
    retired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCurrent(Operation[Claim]):
    """Lead the environment's address to this deployment unless a newer version has, or had, it. The environment keeps
    its newest `keep` superseded versions."""

    deployment_id: str
    app_id: str
    environment: str
    version: int
    keep: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack(Operation[Deployment]):
    """Promote, as a new deployment, the newest of the environment that was ready and was not rolled back from, and hold
    the environment for webhooks. What has the address, whatever is newer, and what they came from are rolled back from.

    NotFound APP_NOT_FOUND or ENVIRONMENT_NOT_FOUND, Conflict NOTHING_TO_ROLL_BACK_TO, and as `CreateDeployment`.
    """

    app_id: str
    environment: str
    domain: str
    at: datetime
    steady: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHold(Operation[bool]):
    """Let webhooks deploy to the environment again; True if it was held. NotFound ENVIRONMENT_NOT_FOUND."""

    app_id: str
    environment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCurrent(Operation[bool]):
    """Lead the environment's address nowhere if it leads to this deployment; True if it did."""

    deployment_id: str
    app_id: str
    environment: str


@dataclass(frozen=True, slots=True)
class SaveDeployment(Operation[Deployment]):
    """`key` is that of the request whose order this is: it is stored in the same piece."""

    snapshot: Deployment
    key: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class SaveTask(Operation[Task]):
    snapshot: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateArtifact(Operation[Artifact]):
    """Announce an executable; its bytes come later. `app_id` when it is for one app only."""

    name: str
    content_type: str
    at: datetime
    app_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteArtifact(Operation[Artifact]):
    """Its bytes are on disk. Conflict ARTIFACT_COMPLETE when they already were."""

    id: str
    sha256: str
    size: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Report(Operation[None]):
    """Nothing but the notices that are committed with it: something happened that no row keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddArtifact(Operation[Artifact]):
    """An executable of an app whose bytes are on disk already."""

    name: str
    app_id: str
    sha256: str
    size: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptDomain(Operation[int]):
    """Give every app, environment and preview an address under `domain` too; the number of new ones."""

    domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetEvents(Operation[int]):
    """Drop at most `most` of the events from before the instant, oldest first: how many there were."""

    before: datetime
    most: int
