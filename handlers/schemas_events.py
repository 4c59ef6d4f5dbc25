"""What the queries of events look like; see `handlers.schemas`. Pure."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from handlers.words import Body, Id

MOST_TYPES = 20
_TYPE = re.compile(r"[a-z_]+(?:\.[a-z_]*)?\Z")


def _types(value: str) -> None:
    types = value.split(",")
    if len(types) > MOST_TYPES or not all(_TYPE.match(type) for type in types):
        raise ValueError(
            f'must be at most {MOST_TYPES} types such as "task.exited", or "task." for all of a kind, '
            f"separated by commas; not {value[:80]!r}"
        )


class DeploymentEventsQuery(Body):
    """`type` is exact ("task.exited"), or all that begin so ("task."); several are separated by commas. A stream begins
    with the last `tail`; `limit` is for a JSON list. `after` is the id of the last event that is known."""

    type: Annotated[str, Meta(max_length=400, extra={"check": _types})] | UnsetType = UNSET
    after: Annotated[int, Meta(ge=0, le=1 << 53)] | UnsetType = UNSET
    tail: Annotated[int, Meta(ge=0, le=1000)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class EventsQuery(DeploymentEventsQuery):
    app_id: Id | UnsetType = UNSET
    deployment_id: Id | UnsetType = UNSET
