"""The words of bodies and queries: kinds of values that several schemas share. See `handlers.schemas`. Pure, but that
moments may be told from now."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from handlers import quantities
from platformd import clock, ids
from platformd.domain.spec import ENV_NAME, parse_cpu, parse_memory

TEN_YEARS = 315_360_000
LONGEST_WAIT_SECS = 60
LONGEST_ARGUMENT = 131_000  # Linux takes 128 KiB for one argument or variable
RESERVED_NAMES = frozenset(
    {
        *(
            "builds",
            "by-subdomain",
            "cancel",
            "custom-domains",
            "deploy",
            "deployments",
            "env",
            "environments",
        ),
        *("registries", "release", "rollback", "source", "tasks", "trigger", "webhook-deliveries"),
    }
)


def _free_name(value: str) -> None:
    if value.lower() in RESERVED_NAMES or ids.is_id(value):
        raise ValueError(f"must not be {value!r}: that already means something in the API's paths")


def cpu_text(value: str | float) -> str:
    """A CPU quantity as `domain.spec` writes it."""
    return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def is_cpu(value: str | float) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    parse_cpu(cpu_text(value))


def is_memory(value: str | int) -> None:
    parse_memory(str(value))


def duration(low: float, high: float) -> Callable[[str | float], None]:
    def check(value: str | float) -> None:
        if not low <= quantities.seconds(value) <= high:
            raise ValueError(f"must be from {low:g} s to {high:g} s, not {value!r}")

    return check


def is_instant(text: str) -> None:
    quantities.instant(text, clock.now())


Moment = Annotated[str, Meta(max_length=40, extra={"check": is_instant})]
Id = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
        extra={"says": "a UUID"},
    ),
]
Name = Annotated[
    str,
    Meta(
        max_length=40,
        min_length=1,
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?$",
        extra={
            "says": "letters, digits and hyphens, with a letter or digit at both ends",
            "check": _free_name,
        },
    ),
]
Slug = Annotated[
    str,
    Meta(
        max_length=32,
        min_length=1,
        pattern=r"^[a-z0-9-]+$",
        extra={"says": "lower-case letters, digits and hyphens"},
    ),
]
Path = Annotated[
    str,
    Meta(
        max_length=1024, pattern=r"^/[!-~]*$", extra={"says": "a path that begins with / and has no spaces"}
    ),
]
Argument = Annotated[str, Meta(max_length=LONGEST_ARGUMENT)]
Description = Annotated[str, Meta(max_length=2000)]
Labels = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=63)], Annotated[str, Meta(max_length=256)]],
    Meta(max_length=64),
]
EnvName = Annotated[
    str,
    Meta(
        max_length=256,
        pattern=ENV_NAME,
        extra={"says": "a name of letters, digits and _ that begins with no digit"},
    ),
]
Image = Annotated[
    str, Meta(min_length=1, max_length=512, pattern=r"^[!-~]+$", extra={"says": "an image's name"})
]
Quantity = Annotated[str, Meta(max_length=40, pattern=r"^[0-9.]+[A-Za-z]*$", extra={"says": "a quantity"})]
Seconds = Annotated[float, Meta(ge=1, le=TEN_YEARS)]


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """What every body and query has in common: nothing unknown is taken."""
