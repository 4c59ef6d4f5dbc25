"""A heap of things to do later, for the keeper's one thread."""

from __future__ import annotations

import heapq
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Timers:
    """`after` schedules, `run` calls what is due, `wait` says how long nothing is."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (time.monotonic() + seconds, self._number, call))

    def wait(self) -> float:
        """Seconds until the next one, -1 for ever."""
        if not self._heap:
            return -1
        return max(0.0, self._heap[0][0] - time.monotonic())

    def run(self) -> None:
        while self._heap and self._heap[0][0] <= time.monotonic():
            heapq.heappop(self._heap)[2]()
