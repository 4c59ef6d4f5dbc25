"""What the queries of supervisor tooling look like; see `handlers.schemas`. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from handlers.words import Body


class LettersQuery(Body):
    page: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=100)] = 20


class ActorsQuery(LettersQuery):
    """`state` is the mailbox's, or `dormant` for those that are rows only."""

    kind: Literal["deployment", "task"] | UnsetType = UNSET
    state: (
        Literal["idle", "ready", "running", "parked", "waiting", "quarantined", "closed", "dormant"]
        | UnsetType
    ) = UNSET
