"""The persisted facts that have no state machine of their own, and the values machines share.

Pure records. `SCHEMA` is stored with every snapshot; the store refuses one it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something failed, waits or backs off; `code` is stable UPPER_SNAKE."""

    code: str
    message: str
    exit_code: int | None = None
    signal: str | None = None
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a task's process ended. `unknown` when nobody could read its exit status."""

    code: int | None = None
    signal: str | None = None
    oom_killed: bool = False
    unknown: bool = False
    last_lines: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return self.code == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What was checked out; `message` is its subject and body as far as they are kept."""

    sha: str
    author: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An application; `subdomain` is unique, `revision` rises with each change."""

    id: str
    name: str
    namespace: str
    subdomain: str
    description: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    default_deployment_spec: Mapping[str, object] = field(default_factory=dict)
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An executable: announced first, complete once `sha256` and `size` (bytes) are known. `app_id` is the only app
    whose bound tokens may touch it: one of them made it. None when it was made by anybody else."""

    id: str
    name: str
    content_type: str
    created_at: datetime
    uploaded_at: datetime | None = None
    sha256: str | None = None
    size: int | None = None
    app_id: str | None = None
