"""A stored log entry as the API shows it. Called by the log handlers and feeds; pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from platformd.logstore import Entry
from platformd.views import timestamp

_encode = msgspec.json.Encoder().encode


class EntryView(msgspec.Struct, omit_defaults=True):
    """The contract's fields; `truncated` only where bytes were dropped."""

    id: int
    timestamp: str
    deployment_id: str
    task_id: str
    stream: str
    message: str
    truncated: int | None = None


def shown(entry: Entry) -> EntryView:
    """`entry` with the contract's names."""
    return EntryView(
        entry.id,
        timestamp(entry.timestamp),
        entry.deployment_id,
        entry.task_id,
        entry.stream,
        entry.message,
        entry.truncated or None,
    )


class BuildEntryView(msgspec.Struct, omit_defaults=True):
    """A line of a build's log."""

    id: int
    timestamp: str
    build_id: str
    stream: str
    message: str
    truncated: int | None = None


def shown_of_build(entry: Entry) -> BuildEntryView:
    """`entry`, which the log store keeps under the build's id."""
    return BuildEntryView(
        entry.id,
        timestamp(entry.timestamp),
        entry.deployment_id,
        entry.stream,
        entry.message,
        entry.truncated or None,
    )


def encoded_of_build(entries: Iterable[Entry]) -> list[tuple[int, bytes]]:
    """(id, JSON) of each."""
    return [(entry.id, _encode(shown_of_build(entry))) for entry in entries]


def encoded(entries: Iterable[Entry]) -> list[tuple[int, bytes]]:
    """(id, JSON) of each."""
    return [(entry.id, _encode(shown(entry))) for entry in entries]
