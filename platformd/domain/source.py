"""Where an app's code comes from and how it becomes something to deploy; and the operations on that.

Pure. Secrets are sealed text wherever a `Source` goes; git and whoever checks signatures open them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from platformd.domain.operations import Operation
from platformd.domain.spec import ProcessType

SECRETS = ("webhook_secret", "access_token", "ssh_key")


class BuildKind(StrEnum):
    """`command` leaves an executable behind, `dockerfile` an image."""

    COMMAND = "command"
    DOCKERFILE = "dockerfile"

    @property
    def makes(self) -> ProcessType:
        return ProcessType.TISH if self is BuildKind.COMMAND else ProcessType.DOCKER


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a tree is built: `command` leaves the executable `artifact_path`, a `dockerfile` an image. All paths are
    relative to `root_dir`, and that to the tree."""

    kind: BuildKind
    command: str | None = None
    artifact_path: str | None = None
    dockerfile: str | None = None
    root_dir: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An app's repository on GitHub, "owner/name". The three secrets are sealed with `sealed_for`, None when not set.

    A push to `branch` is deployed to `environment` when `auto_deploy`; pull requests get environments of their own
    when `previews`.
    """

    app_id: str
    repository: str
    branch: str = "main"
    build: Recipe
    process_type: ProcessType
    environment: str = "development"
    auto_deploy: bool = True
    previews: bool = False
    webhook_secret: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    ssh_key: str | None = field(default=None, repr=False)
    created_at: datetime
    updated_at: datetime
    revision: int = 1


def sealed_for(app_id: str, name: str) -> str:
    """What the ciphertext of a source's secret belongs to; `name` is one of `SECRETS`."""
    return f"{name} of the source of app {app_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSource(Operation[Source]):
    """The app's source is this one. A secret named in `kept` stays what it was. NotFound, Stale; Invalid for a secret
    to keep that is not there."""

    source: Source
    kept: frozenset[str] = frozenset()
    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSource(Operation[None]):
    """NotFound SOURCE_NOT_FOUND, Stale."""

    app_id: str
    revision: int | None = None
