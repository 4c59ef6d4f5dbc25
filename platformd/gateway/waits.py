"""How long requests were held before they were given to a task, as a histogram since the last report.

Counted by `hold` at each release, taken by the gateway's report of load. Gateway loop thread only.
"""

from __future__ import annotations

from bisect import bisect_left

from platformd.gateway.protocol import WAITS


class Waits:
    """The bounds are `protocol.WAITS`."""

    def __init__(self) -> None:
        self._counts = [0] * (len(WAITS) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """One request was held for so long."""
        self._counts[bisect_left(WAITS, seconds)] += 1
        self._seconds += seconds

    def take(self) -> tuple[list[int], float]:
        """What was added since the last time: counts and their sum in seconds."""
        taken = self._counts, self._seconds
        self._counts, self._seconds = [0] * (len(WAITS) + 1), 0.0
        return taken
