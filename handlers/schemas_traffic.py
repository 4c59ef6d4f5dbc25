"""What a body says about traffic: which requests wake nothing. Part of `handlers.schemas`. Pure."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from handlers.words import Body, Path


class NoWakeBody(Body):
    path: Path | UnsetType = UNSET
    user_agent: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=256,
                pattern=r"^[ -~]+$",
                extra={"says": "printable ASCII characters"},
            ),
        ]
        | UnsetType
    ) = UNSET
