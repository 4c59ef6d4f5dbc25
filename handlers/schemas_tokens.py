"""Bodies about tokens. See `schemas`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from handlers.schemas import PageQuery
from handlers.words import Body, Id


class NewToken(Body):
    name: Annotated[
        str,
        Meta(
            min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$", extra={"says": "text on one line"}
        ),
    ]
    scope: Literal["read", "deploy", "admin"] | UnsetType = UNSET
    app_id: Id | UnsetType | None = UNSET


class TokensQuery(PageQuery):
    pass
