"""Snapshots to JSON and back. Called by the store's writer and readers; any thread.

A frozen dataclass of the domain is encoded field by field; a field that a newer release added is ignored when read,
one that an older release did not know takes its default.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec
import structlog

from platformd.domain.build.state import Build
from platformd.domain.deployment.state import Deployment
from platformd.domain.snapshot import SCHEMA, App, Artifact
from platformd.domain.source import Source
from platformd.domain.task import Task

T = TypeVar("T")
Stateful = Deployment | Task | Build
"""What has an actor and may be saved behind."""
Snapshot = App | Artifact | Stateful

_log = structlog.get_logger(__name__)


def _unusual(value: Any) -> Any:
    """Subclasses of datetime, such as a frozen clock's."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} {value!r} cannot be stored")


_encoder = msgspec.json.Encoder(enc_hook=_unusual)
_decoders: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (App, Artifact, Deployment, Task, Build, Source)
}


def encode(value: object) -> bytes:
    """Compact JSON; TypeError for what is no plain value or record."""
    return _encoder.encode(value)


def stamp(at: datetime) -> str:
    """An instant as the columns hold it."""
    return at.isoformat().removesuffix("+00:00")


class Decoding:
    """Reads snapshots of one database and reports each row it cannot read once."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def decode(self, kind: type[T], id: str, format: int, text: str | bytes) -> T | None:
        """The record, or None for a row that is left alone because it cannot be read."""
        if format > SCHEMA:
            self._report(kind, id, f"format {format} is newer than {SCHEMA}")
            return None
        try:
            record: T = _decoders[kind].decode(text)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            self._report(kind, id, str(error))
            return None
        return record

    def _report(self, kind: type, id: str, why: str) -> None:
        if id not in self._reported:
            self._reported.add(id)
            _log.error("store.unreadable_row", kind=kind.__name__.lower(), id=id, why=why)
