"""What a body says about traffic: what wakes nothing, how many tasks it calls for. Part of `handlers.schemas`. Pure."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from handlers.words import Body, Path


class AutoscaleBody(Body):
    max: Annotated[int, Meta(ge=1, le=100)]
    target_concurrency: Annotated[float, Meta(ge=0.1, le=10_000)]
    min: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET


class KeepAwakeBody(Body):
    cpu_percent: Annotated[float, Meta(gt=0, le=100_000)] | UnsetType | None = UNSET
    busy_path: Path | UnsetType | None = UNSET


class Lease(Body):
    """0 ends what was promised before."""

    for_secs: Annotated[float, Meta(ge=0, le=2_592_000)]


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
