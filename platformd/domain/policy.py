"""Numbers of the lifecycle that no specification sets, how long things are kept, and the back-off curve. Pure."""

from __future__ import annotations

from datetime import timedelta

DRAIN = timedelta(seconds=30)
BACKOFF_FIRST_SECS = 0.2
BACKOFF_LONGEST_SECS = 30.0
BACKOFF_JITTER = 0.2
SPENT_RETRY = timedelta(seconds=30)
GOOD_AFTER = timedelta(seconds=60)
WORKER_READY_AFTER = timedelta(seconds=1)
EXCLUSIVE_WAKE_GRACE = timedelta(seconds=1)
PORT_RETRY = timedelta(seconds=1)
IDLE_ANSWER_WITHIN = timedelta(seconds=5)
FROZEN_FOR_TIMEOUTS = 10
LOOK_EVERY = timedelta(seconds=30)
LOOK_FRESH = timedelta(seconds=1)
HISTORY_KEPT = timedelta(days=30)
OUTPUT_KEPT = timedelta(days=7)
ANSWERS_KEPT = timedelta(hours=24)


def backoff(failures: int, jitter: float) -> timedelta:
    """The pause after the `failures`-th failure in a row (from 1); `jitter` in [-1, 1] spreads it by 20 %, never
    beyond the longest."""
    plain = min(BACKOFF_LONGEST_SECS, BACKOFF_FIRST_SECS * 2 ** min(failures - 1, 20))
    return timedelta(seconds=min(BACKOFF_LONGEST_SECS, plain * (1 + BACKOFF_JITTER * jitter)))
