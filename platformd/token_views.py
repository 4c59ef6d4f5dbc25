"""API tokens: found by their secret, and as the API and the command line show them. Never a secret, nor its digest.

Called by handlers on the loop's thread (any thread may). A row is read each time, so that a token revoked by another
process is refused by the next request.
"""

from __future__ import annotations

from typing import Any

from platformd.domain.token import Token, digest
from platformd.errors import NotFound
from platformd.shown import timestamp, timestamp_or_none
from platformd.store.lists import Page
from platformd.store.reader import Reader
from platformd.store.tokens import all_tokens, any_valid, token_by_digest, token_by_id

Json = dict[str, Any]


class TokenViews:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def by_secret(self, secret: str) -> Token | None:
        """The token that `secret` belongs to, unless it is revoked."""
        return _valid(token_by_digest(self._reader, digest(secret)))

    def valid(self, id: str) -> bool:
        """Whether it is there and not revoked."""
        return _valid(token_by_id(self._reader, id)) is not None

    def any_valid(self) -> bool:
        return any_valid(self._reader)

    def token(self, id: str) -> Json:
        found = token_by_id(self._reader, id)
        if found is None:
            raise NotFound(f"there is no token {id}", code="TOKEN_NOT_FOUND")
        return render(found)

    def page(self, page: Page) -> Json:
        """Ordered by when they were made; tokens are few."""
        tokens = all_tokens(self._reader)
        if page.sort_order == "asc":
            tokens.reverse()
        start = (page.page - 1) * page.page_size
        shown = [render(token) for token in tokens[start : start + page.page_size]]
        return {"data": shown, "total": len(tokens), "page": page.page, "page_size": page.page_size}


def render(token: Token) -> Json:
    return {
        "id": token.id,
        "name": token.name,
        "scope": token.scope.value,
        "prefix": token.prefix,
        "app_id": token.app_id,
        "created_at": timestamp(token.created_at),
        "last_used_at": timestamp_or_none(token.last_used_at),
        "revoked_at": timestamp_or_none(token.revoked_at),
        "revision": token.revision,
    }


def _valid(token: Token | None) -> Token | None:
    return token if token is not None and token.revoked_at is None else None
