"""Helpers shared by the tests: waiting for a condition without sleeping blindly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_TICK = threading.Event()


def eventually(condition: Callable[[], T], timeout: float = 10.0, every: float = 0.01) -> T:
    """The first truthy value of `condition`, asked every `every` seconds; AssertionError after `timeout`."""
    deadline = time.monotonic() + timeout
    last: object = None
    while time.monotonic() < deadline:
        try:
            value = condition()
        except (AssertionError, OSError, LookupError) as error:
            last = error
        else:
            if value:
                return value
            last = value
        _TICK.wait(every)
    raise AssertionError(f"not within {timeout} s; last: {last!r}")
