"""What a row of health checks means: out of balance after three misses, lost after a minute of them.

Pure. Used by the prober, one record for each task that has a health path and was ready once.
"""

from __future__ import annotations

from platformd.domain.events import HealthLost, HealthMissed, HealthRestored
from platformd.domain.snapshot import Reason

MISSES = 3
PATIENCE_SECS = 60.0


class HealthRecord:
    """`path` is named in the reason."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._misses = 0
        self._out_since: float | None = None
        self.lost = False

    def observe(self, status: int | None, at: float) -> HealthMissed | HealthRestored | HealthLost | None:
        """What the check that ended at `at` (monotonic seconds) with `status` (None: no answer) changes."""
        if good(status):
            return self._answered()
        self._misses += 1
        if self._out_since is None:
            if self._misses < MISSES:
                return None
            self._out_since = at
            return HealthMissed()
        if at - self._out_since < PATIENCE_SECS or self.lost:
            return None
        self.lost = True
        last = "no answer" if status is None else f"status {status}"
        return HealthLost(
            Reason(
                code="UNHEALTHY",
                message=f"GET {self._path} has not answered 2xx for {PATIENCE_SECS:g} s (last: {last}); replaced",
            )
        )

    def _answered(self) -> HealthRestored | None:
        was_out = self._out_since is not None
        self._misses, self._out_since = 0, None
        return HealthRestored() if was_out else None


def good(status: int | None) -> bool:
    """Only 2xx is; a redirect is not."""
    return status is not None and 200 <= status < 300
