"""Single values as the API shows them. Called by the views; pure but for the clock's two readings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from platformd import clock
from platformd.domain.snapshot import Commit


def timestamp(at: datetime) -> str:
    """RFC 3339, UTC, milliseconds, Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def timestamp_or_none(at: datetime | None) -> str | None:
    return None if at is None else timestamp(at)


def column_timestamp(text: str) -> str:
    """As `timestamp`, of an instant as the columns hold it."""
    return timestamp(datetime.fromisoformat(text).replace(tzinfo=UTC))


def wall_clock(steady: datetime | None) -> str | None:
    """A deadline of the steady clock as the wall clock will show it; their distance in whole seconds, so that an answer
    stays the same while nothing changes."""
    if steady is None:
        return None
    apart = (clock.now() - clock.steady()).total_seconds()
    return timestamp(steady + timedelta(seconds=round(apart)))


def number(value: float | None) -> float | int | None:
    """Whole seconds without a fraction."""
    return int(value) if value is not None and value == int(value) else value


def commit_object(commit: Commit | None) -> dict[str, str] | None:
    """What something was built from."""
    if commit is None:
        return None
    return {"sha": commit.sha, "author": commit.author, "message": commit.message}
