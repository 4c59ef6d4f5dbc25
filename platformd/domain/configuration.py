"""What belongs to an app beside its deployments, and the operations that change it: variables, environments, custom
domains, registry credentials, the app itself.

Pure records. `revision` in an operation is the one the caller saw; another present one is PreconditionFailed (412).
None does not ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from platformd.domain.operations import Operation
from platformd.domain.snapshot import App
from platformd.domain.variables import Change, Variables


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableSet:
    """The variables of an app, or of one of its environments; revision 0 before the first change."""

    app_id: str
    environment: str | None
    values: Variables = field(default_factory=dict)
    revision: int = 0
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OldValues:
    """A deployment that goes on with values which were changed since it was created."""

    id: str
    version: int
    environment_slug: str
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariablesChanged:
    now: VariableSet
    old: tuple[OldValues, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeVariables(Operation[VariablesChanged]):
    """`keep` tells whether names that `change` leaves out stay. NotFound, PreconditionFailed, Invalid."""

    app_id: str
    environment: str | None
    change: Change
    keep: bool
    at: datetime
    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateApp(Operation[App]):
    """`changes` are the fields of `App` that change. NotFound, PreconditionFailed."""

    app_id: str
    changes: Mapping[str, object]
    at: datetime
    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A place of an app that deployments go to; `hostnames` are its own address and its custom domains."""

    app_id: str
    slug: str
    current_deployment: str | None
    created_at: str
    hostnames: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateEnvironment(Operation[None]):
    """Conflict ENVIRONMENT_EXISTS, HOSTNAME_TAKEN."""

    app_id: str
    slug: str
    domain: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteEnvironment(Operation[tuple[str, ...]]):
    """Its addresses, variables and the row; the hostnames that lead nowhere now. Conflict ENVIRONMENT_IN_USE while a
    deployment in it, or a build for it, is not finished."""

    app_id: str
    slug: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomDomain:
    """A hostname of somebody's own that leads to an environment."""

    id: str
    app_id: str
    domain: str
    environment: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddDomain(Operation[CustomDomain]):
    """Conflict DOMAIN_TAKEN; NotFound for the app, Invalid for an environment that it does not have."""

    app_id: str
    domain: str
    environment: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveDomain(Operation[str]):
    """The hostname that leads nowhere now; NotFound DOMAIN_NOT_FOUND."""

    app_id: str
    domain_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """What an app shows to one registry; `password` is sealed."""

    id: str
    app_id: str
    host: str
    username: str
    password: str
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRegistry(Operation[Registry]):
    """One set of credentials a host: a second one replaces the first."""

    app_id: str
    host: str
    username: str
    password: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveRegistry(Operation[None]):
    """NotFound REGISTRY_NOT_FOUND."""

    app_id: str
    registry_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginRemoval(Operation[None]):
    """The app is to go: it takes no more deployments. Again: nothing. NotFound, PreconditionFailed."""

    app_id: str
    at: datetime
    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRemoval(Operation[tuple[str, ...]]):
    """Every row of an app; its hostnames. Only once its deployments are done."""

    app_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteArtifact(Operation[str | None]):
    """The SHA-256 whose last artifact went, None while another has the same bytes. Conflict ARTIFACT_IN_USE while a
    deployment, or a rollback to it, needs it."""

    id: str
