"""The only clock reads of the service (the keeper, which is stdlib only, reads its own).

`now()` is for showing. `steady()` is for deadlines: an aware datetime that CLOCK_BOOTTIME advances from a base
agreed once per boot, so a step of the wall clock moves no deadline and a deadline stored by one process means
the same instant to the next. Until `anchor()` is called (as in tests) `steady()` is `now()`. Any thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where steady time starts in one boot: `utc` was the time when CLOCK_BOOTTIME read `boot_ns`."""

    boot_id: str
    boot_ns: int
    utc: datetime


_anchor: Anchor | None = None


def now() -> datetime:
    """The wall clock, aware, UTC."""
    return datetime.now(UTC)


def boot_ns() -> int:
    """CLOCK_BOOTTIME in nanoseconds: rises while the machine sleeps, never steps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def monotonic() -> float:
    """Seconds for measuring durations within this process."""
    return time.monotonic()


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def new_anchor() -> Anchor:
    """An anchor at this instant, to be stored for the rest of this boot."""
    return Anchor(boot_id(), boot_ns(), now())


def anchor(stored: Anchor | None) -> None:
    """Base steady time on `stored` (same boot only); None returns to the wall clock."""
    global _anchor
    if stored is not None and stored.boot_id != boot_id():
        raise ValueError(f"anchor of boot {stored.boot_id} cannot be used in boot {boot_id()}")
    _anchor = stored


def steady() -> datetime:
    """The present instant on the steady clock, aware, UTC."""
    return now() if _anchor is None else steady_from_boot_ns(boot_ns())


def steady_from_boot_ns(instant: int) -> datetime:
    """The steady instant, to the microsecond, at which CLOCK_BOOTTIME read `instant` nanoseconds."""
    base = _anchor or Anchor("", boot_ns(), now())
    return base.utc + timedelta(microseconds=(instant - base.boot_ns) // 1000)


def boot_ns_from_steady(instant: datetime) -> int:
    """CLOCK_BOOTTIME in nanoseconds at the end of the microsecond that `instant` names: an instant that went through
    `steady_from_boot_ns` comes back no earlier than it was."""
    base = _anchor or Anchor("", boot_ns(), now())
    return base.boot_ns + (instant - base.utc) // timedelta(microseconds=1) * 1000 + 999
