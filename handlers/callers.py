"""Who is calling, and what that caller may do. Pure; made by `handlers.admitting`."""

from __future__ import annotations

from dataclasses import dataclass

from platformd.domain.token import Scope
from platformd.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Caller:
    """`token_id` is None for somebody without a token, where none is asked for; `app_id` is the token's only app."""

    scope: Scope
    token_id: str | None = None
    app_id: str | None = None

    def require_app(self, app_id: str | None) -> None:
        """Forbidden unless this caller may touch what belongs to `app_id` (None: to the platform as a whole)."""
        if self.app_id is not None and app_id != self.app_id:
            raise Forbidden(
                f"this token is for the app {self.app_id} only; use one that is not bound to it",
                code="TOKEN_BOUND_TO_APP",
            )


ANYBODY = Caller(Scope.ADMIN)
