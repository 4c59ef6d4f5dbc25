"""Storms of starts: so many at once and no more, the others in a line.

Between the native driver and its `Starts`; any thread. A place is kept until the task is ready or over, but not for
longer than `PATIENCE_SECS`: what takes long to start, and perhaps only waits itself, must not hold up the others.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

from platformd import clock
from platformd.drivers.run import Run

PLACES_PER_CORE = 4
PATIENCE_SECS = 1.0
_LOOK_EACH_SECS = 0.1


class Gate:
    """`begin` starts a run; `later` runs a job in so many seconds."""

    def __init__(
        self,
        begin: Callable[[Run], None],
        later: Callable[[float, Callable[[], None]], None],
        places: int = 0,
        patience: float = PATIENCE_SECS,
    ) -> None:
        self._begin, self._later = begin, later
        self._places = places or PLACES_PER_CORE * len(os.sched_getaffinity(0))
        self._patience = patience
        self._lock = threading.Lock()
        self._inside: dict[str, float] = {}
        self._line: deque[Run] = deque()
        self._admitting = self._looking = False

    def enter(self, run: Run) -> None:
        """Begin it now, or when its turn comes."""
        with self._lock:
            self._line.append(run)
        self._admit()

    def leave(self, task_id: str) -> None:
        """Its start is over, well or not; harmless when it has no place."""
        with self._lock:
            held = self._inside.pop(task_id, None)
        if held is not None:
            self._admit()

    def _admit(self) -> None:
        """One thread at a time, so that a start that fails at once does not begin the next one within itself."""
        while (run := self._next()) is not None:
            try:
                self._begin(run)
            finally:
                with self._lock:
                    self._admitting = False

    def _next(self) -> Run | None:
        with self._lock:
            while self._line and self._line[0].forgotten:
                self._line.popleft()
            if self._admitting or not self._line:
                return None
            if len(self._inside) >= self._places:
                self._look_soon()
                return None
            self._admitting = True
            run = self._line.popleft()
            self._inside[run.task_id] = clock.monotonic()
            return run

    def _look_soon(self) -> None:
        if not self._looking:
            self._looking = True
            self._later(_LOOK_EACH_SECS, self._look)

    def _look(self) -> None:
        """Those who have been inside for too long give up their places."""
        with self._lock:
            self._looking = False
            latest = clock.monotonic() - self._patience
            self._inside = {task: since for task, since in self._inside.items() if since > latest}
        self._admit()
