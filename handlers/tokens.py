"""Tokens: make, look at, revoke; and tickets for streams, which cannot send a header."""

from __future__ import annotations

from msgspec import UnsetType

from handlers import answers_tokens as answers
from handlers import schemas
from handlers.answers import Page
from handlers.base import Handler
from handlers.operation import Scope, operation
from handlers.paging import page_of
from handlers.schemas_tokens import NewToken, TokensQuery
from platformd import clock, ids
from platformd.domain.retries import IfRevision
from platformd.domain.token import (
    DEFAULT_SCOPE,
    SECRET_PREFIX,
    SHOWN,
    CreateToken,
    RevokeToken,
    Token,
    digest,
)
from platformd.shown import timestamp
from platformd.token_views import render


class TokensHandler(Handler):
    """`/tokens`."""

    @operation("List tokens", Scope.ADMIN, query=TokensQuery, answers={200: Page[answers.Token]})
    def get(self) -> None:
        self.answer(self.read(self.context.tokens.page, page_of(self.query(TokensQuery))))

    @operation(
        "Make a token",
        Scope.ADMIN,
        body=NewToken,
        answers={201: answers.MadeToken},
        problems=("404 APP_NOT_FOUND",),
    )
    async def post(self) -> None:
        """The secret is in this answer and nowhere else, so a repetition under the same `Idempotency-Key` lacks it."""
        self.no_query()
        body = self.body(NewToken)
        secret = ids.new_secret(SECRET_PREFIX)
        made = await self.durable(
            self.configuration.commit(
                CreateToken(
                    name=body.name,
                    scope=DEFAULT_SCOPE if isinstance(body.scope, UnsetType) else Scope(body.scope),
                    app_id=None if isinstance(body.app_id, UnsetType) else body.app_id,
                    digest=digest(secret),
                    prefix=secret[:SHOWN],
                    at=clock.now(),
                )
            )
        )
        shown, place = render(made), f"/api/v1/tokens/{made.id}"
        if self.read(self.context.tokens.by_secret, secret) is None:
            self.answer(shown, 201, location=place)  # made by an earlier request, whose secret is gone
        else:
            self.answer_once(shown | {"token": secret}, shown, 201, location=place)


class TokenHandler(Handler):
    """`/tokens/:id`."""

    @operation("Get a token", Scope.ADMIN, answers={200: answers.Token}, problems=("404 TOKEN_NOT_FOUND",))
    def get(self, token_id: str) -> None:
        self.no_query()
        self.answer(self.read(self.context.tokens.token, token_id))

    @operation(
        "Revoke a token",
        Scope.ADMIN,
        answers={204: None},
        problems=("404 TOKEN_NOT_FOUND",),
    )
    async def delete(self, token_id: str) -> None:
        """For good: it stays in the list, and the streams that were opened by it end."""
        self.no_query()
        self.no_body()
        revoke = RevokeToken(id=token_id, at=clock.now())
        revision = self.if_match()
        guarded = (
            revoke
            if revision is None
            else IfRevision(operation=revoke, kind=Token, id=token_id, revision=revision)
        )
        await self.durable(self.context.configuration.commit(guarded))
        self.no_content()


class TicketsHandler(Handler):
    """`/stream-tickets`."""

    BOUND_CALLERS = True  # the stream it opens looks after its app

    @operation(
        "Get a ticket for a stream",
        Scope.READ,
        body=schemas.Nothing,
        optional_body=True,
        answers={201: answers.Ticket},
    )
    def post(self) -> None:
        """For an EventSource, which can send no header: good once, within a minute, as `?ticket=`, for what the caller
        may read. A repetition under the same `Idempotency-Key` lacks it."""
        self.no_query()
        self.no_body()
        ticket, expires = self.authentication.issue(self.caller)
        shown = {"expires_at": timestamp(expires)}
        self.answer_once(shown | {"ticket": ticket}, shown, 201)
