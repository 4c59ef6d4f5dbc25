"""API tokens: what one allows, and what is kept of it. Pure; handlers, the store and the command line share it.

A secret is 256 random bits, so a plain SHA-256 of it is enough to keep: there is nothing to guess that a slow hash
would have to protect, and every request pays for the hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from platformd.domain.operations import Operation

SECRET_PREFIX = "pfd"
SHOWN = 11  # characters of a secret that are kept, so that people recognise it


class Scope(StrEnum):
    """What a caller may do. Each includes those before it: who may deploy may also look, an admin may do everything."""

    READ = "read"
    DEPLOY = "deploy"
    ADMIN = "admin"

    def includes(self, wanted: Scope) -> bool:
        return _RANKS[self] >= _RANKS[wanted]

    @property
    def included(self) -> tuple[Scope, ...]:
        """Itself and all it includes."""
        return tuple(scope for scope in Scope if self.includes(scope))


_RANKS = {scope: rank for rank, scope in enumerate(Scope)}
DEFAULT_SCOPE = Scope.DEPLOY


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token without its secret. `app_id` is the only app it is for; None for all."""

    id: str
    name: str
    scope: Scope
    prefix: str
    app_id: str | None
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def revision(self) -> int:
        """Being used does not raise it."""
        return 1 if self.revoked_at is None else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateToken(Operation[Token]):
    """`digest` and `prefix` are of the secret, which the store never sees. NotFound APP_NOT_FOUND for an unknown
    app."""

    name: str
    scope: Scope
    app_id: str | None
    digest: str
    prefix: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken(Operation[Token]):
    """For good; of one that is revoked already nothing changes. NotFound TOKEN_NOT_FOUND."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsed(Operation[None]):
    """It was shown at `at`."""

    id: str
    at: datetime
