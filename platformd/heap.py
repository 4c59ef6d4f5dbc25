"""Gives memory back to the system after a peak, where the C library can. Called by serve and gateway; any thread."""

from __future__ import annotations

import contextlib
import ctypes


def trim() -> None:
    """Return what is free in the heap to the system. Takes some milliseconds."""
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc keeps it
        ctypes.CDLL(None).malloc_trim(0)
