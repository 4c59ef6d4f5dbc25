"""Durations and instants as clients write them in bodies and queries. Called by schemas and handlers; pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)?\Z")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: str | float) -> float:
    """Seconds of "10s", "1.5m", "500ms", "2h" or a number; ValueError says what is wrong."""
    if isinstance(value, int | float):
        return float(value)
    match = _DURATION.match(value)
    if match is None:
        raise ValueError(
            f'must be a duration such as "10s", "500ms", "2m" or a number of seconds, not {value[:80]!r}'
        )
    return float(match[1]) * _UNITS[match[2] or "s"]


def instant(text: str, now: datetime) -> datetime:
    """The instant of an RFC 3339 time, or of a duration that means so long before `now`."""
    try:
        if _DURATION.match(text):
            return now - timedelta(seconds=seconds(text))
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(
        'must be an RFC 3339 time such as "2026-01-31T12:00:00Z" or a duration such as "10m" that is so long ago, '
        f"not {text[:80]!r}"
    )
