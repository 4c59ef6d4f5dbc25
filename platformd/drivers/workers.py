"""The few threads in which the native driver does what takes time: cgroups, scans of /proc, ends of tasks.

Any thread may submit. A job that has to wait does not: it asks to be run again later.
"""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

log = structlog.get_logger(__name__)


class Workers:
    """A bounded pool; what a job raises is logged and harms nobody. Made on the loop's thread."""

    def __init__(self, loop: AbstractEventLoop, threads: int = 4) -> None:
        self._loop, self._loop_thread = loop, threading.get_ident()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="driver")
        self._closed = False

    def submit(self, job: Callable[[], object]) -> None:
        """Run `job` as soon as a thread is free; after `close`, never."""
        if self._closed:
            return
        try:
            self._pool.submit(_fenced, job)
        except RuntimeError:  # closed between the two
            return

    def later(self, seconds: float, job: Callable[[], object]) -> None:
        """Run `job` in `seconds`."""
        if threading.get_ident() == self._loop_thread:
            self._loop.call_later(seconds, self.submit, job)
            return
        self.on_loop(lambda: self._loop.call_later(seconds, self.submit, job))

    def on_loop(self, call: Callable[[], object]) -> None:
        """Run `call` on the loop thread soon; after the loop has ended, never."""
        if self._closed:
            return
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed: the service is ending
            return

    def close(self) -> None:
        """Finish what runs, drop what waits."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)


def _fenced(job: Callable[[], object]) -> None:
    try:
        job()
    except Exception:
        log.exception("a driver's job failed", job=getattr(job, "__qualname__", repr(job)))
