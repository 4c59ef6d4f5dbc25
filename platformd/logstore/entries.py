"""What a reader of logs gets: one line, and how ids and instants turn into each other. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

from platformd.keeper.segments import STREAMS

Stream = Literal["stdout", "stderr", "system"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of output. `truncated` is how many bytes of it were dropped, None when it is whole."""

    id: int
    timestamp: datetime
    deployment_id: str
    task_id: str
    stream: Stream
    message: str
    truncated: int | None


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """A line as it lies in a segment; sorts by id."""

    id: int
    task: str
    stream: int
    text: bytes
    dropped: int

    def entry(self, deployment: str) -> Entry:
        message = self.text.decode("utf-8", "replace")
        stream = cast(Stream, STREAMS[self.stream])
        return Entry(self.id, instant(self.id), deployment, self.task, stream, message, self.dropped or None)


def instant(id: int) -> datetime:
    """When the line of this id arrived."""
    return _EPOCH + id * _MICROSECOND


def first_id_at(moment: datetime) -> int:
    """The lowest id a line that arrived at `moment` can have."""
    return -((_EPOCH - moment) // _MICROSECOND)
