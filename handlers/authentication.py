"""Finds out who is calling: by a token, by a ticket for one stream, or nobody in particular where that is enough.

One for a server, called by `handlers.admitting` for every request. Loop thread only: it keeps tickets and times of use.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from tornado.httputil import HTTPHeaders

from handlers.callers import ANYBODY, Caller
from handlers.operation import Operation
from platformd import clock, ids
from platformd.domain.operations import Operation as Write
from platformd.domain.token import TokenUsed, digest
from platformd.errors import Forbidden, Unauthenticated
from platformd.token_views import TokenViews

TICKET_LIFE = timedelta(minutes=1)
USE_NOTED_SECS = 10.0
_MOST_TICKETS = 10_000


class Ticket(NamedTuple):
    caller: Caller
    expires: float
    """Of the monotonic clock."""


class Authentication:
    """`required`: nobody may do without a token. `write_behind` stores when a token was used, at most each
    `USE_NOTED_SECS`."""

    def __init__(
        self, tokens: TokenViews, write_behind: Callable[[Write[None]], object], required: bool
    ) -> None:
        self._tokens = tokens
        self._write_behind = write_behind
        self._required = required
        self._tickets: dict[str, Ticket] = {}
        self._noted: dict[str, float] = {}

    def admit(self, declared: Operation, secret: str | None, ticket: str | None = None) -> Caller:
        """Who may do what `declared` says; Unauthenticated or Forbidden for anybody else."""
        caller = self._caller(secret, ticket)
        if caller is None:
            if self._required or declared.locked:
                raise Unauthenticated(
                    "this needs a token: send Authorization: Bearer TOKEN; `platformd token create` makes one",
                    code="TOKEN_REQUIRED",
                )
            return ANYBODY
        if declared.scope is not None and not caller.scope.includes(declared.scope):
            raise Forbidden(
                f"this needs a token of the scope {declared.scope.value}; yours has {caller.scope.value}",
                code="SCOPE_TOO_NARROW",
            )
        return caller

    def is_known(self, secret: str | None) -> bool:
        """Whether somebody who shows `secret` may read; never refuses, for what is public."""
        if secret is None:
            return not self._required
        return self._tokens.by_secret(secret) is not None

    def still_valid(self, caller: Caller) -> bool:
        """False once the caller's token was revoked."""
        return caller.token_id is None or self._tokens.valid(caller.token_id)

    def issue(self, caller: Caller) -> tuple[str, datetime]:
        """A ticket that lets `caller` open one stream, and until when."""
        now = clock.monotonic()
        expired = [key for key, ticket in self._tickets.items() if ticket.expires <= now]
        for key in expired or list(self._tickets)[: max(0, len(self._tickets) - _MOST_TICKETS + 1)]:
            del self._tickets[key]
        secret = ids.new_secret("ticket")
        self._tickets[digest(secret)] = Ticket(caller, now + TICKET_LIFE.total_seconds())
        return secret, clock.now() + TICKET_LIFE

    def _caller(self, secret: str | None, ticket: str | None) -> Caller | None:
        if ticket is not None:
            return self._redeem(ticket)
        if secret is None:
            return None
        token = self._tokens.by_secret(secret)
        if token is None:
            raise Unauthenticated(
                "no token like yours is valid here; it may be revoked", code="TOKEN_INVALID"
            )
        self._note(token.id)
        return Caller(token.scope, token.id, token.app_id)

    def _redeem(self, ticket: str) -> Caller:
        found = self._tickets.pop(digest(ticket), None)
        if found is None or found.expires <= clock.monotonic() or not self.still_valid(found.caller):
            raise Unauthenticated(
                "this ticket is not valid: each opens one stream within a minute; ask for another",
                code="TICKET_INVALID",
            )
        return found.caller

    def _note(self, token_id: str) -> None:
        now = clock.monotonic()
        if now - self._noted.get(token_id, -USE_NOTED_SECS) >= USE_NOTED_SECS:
            self._noted[token_id] = now
            self._write_behind(TokenUsed(id=token_id, at=clock.now()))


def secret_in(headers: HTTPHeaders) -> str | None:
    """What a request shows as its token. An `Authorization` of another scheme is no token, and so never valid."""
    given = headers.get("Authorization")
    if given is None:
        return headers.get("X-API-Key")
    scheme, _, secret = given.strip().partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else given
