"""A timer that a loop can wait for and that is exact to tens of microseconds; a loop's own are no finer than 1 ms.

Used by the prober and by the gateway, on their loops' threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from asyncio import AbstractEventLoop
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_libc = ctypes.PyDLL(
    None, use_errno=True
)  # PyDLL: these calls never wait, so the interpreter need not be let go


class _TimerSpec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns")]


class Timer:
    """Calls `ring` on the loop once after each `set`."""

    def __init__(self, loop: AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"no timer can be had: {os.strerror(number)}")
        self._spec = _TimerSpec()
        self._reference = ctypes.byref(self._spec)
        loop.add_reader(self._fd, self._readable)

    def set(self, seconds: float) -> None:
        """Ring `seconds` from now, in place of any earlier wish; 0 or less rings at once."""
        nanoseconds = max(1, round(seconds * 1e9))
        self._spec.value_s, self._spec.value_ns = divmod(nanoseconds, 1_000_000_000)
        _libc.timerfd_settime(self._fd, 0, self._reference, None)

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
            self._ring()
