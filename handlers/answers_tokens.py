"""Answers about tokens. See `answers`."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from handlers.answers import Answer, Instant
from handlers.words import Id


class Token(Answer):
    """`prefix` is how its secret begins; `app_id` the only app it is for."""

    id: Id
    name: str
    scope: Literal["read", "deploy", "admin"]
    prefix: str
    app_id: Id | None
    created_at: Instant
    last_used_at: Instant | None
    revoked_at: Instant | None
    revision: int


class MadeToken(Token):
    """`token` is the secret, shown this once."""

    token: str | UnsetType = UNSET


class Ticket(Answer):
    """`ticket` opens one stream as `?ticket=`; it is shown this once."""

    expires_at: Instant
    ticket: str | UnsetType = UNSET
