"""API tokens: what one allows. Pure; handlers, the store and the command line share it."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What a caller may do. Each includes those before it: who may deploy may also look, an admin may do everything."""

    READ = "read"
    DEPLOY = "deploy"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        return _RANKS[self]

    def includes(self, wanted: Scope) -> bool:
        return self.rank >= wanted.rank


_RANKS = {scope: rank for rank, scope in enumerate(Scope)}
