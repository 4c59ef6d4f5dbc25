"""Judges failures: what happened is logged, counted against a budget per key, and kept as a dead letter.

Called by turns on pool threads and by the list of actors on any thread. Where dead letters go, and who hears
of a quarantine, is injected; both are called outside every lock and may fail without harm.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import structlog

from actors.messages import DeadLetter, Key, Reason
from platformd import clock, metrics

BUDGET = 5
WINDOW = 30.0
KEPT_RECORDS = 1000
FIRST_DELAY = 0.1
LONGEST_TEXT = 2000
_log = structlog.get_logger("actors")


class Verdict(StrEnum):
    RESTART = "restart"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Failure:
    """The last time an actor raised: when, what, and in which message (its type; None while activating)."""

    at: datetime
    error: str
    message: str | None


@dataclass(slots=True)
class Record:
    """What is remembered of one key. `recent` are monotonic seconds of failures within the window."""

    restarts: int = 0
    last: Failure | None = None
    recent: deque[float] = field(default_factory=deque)
    quarantined: bool = False


def _ignore(*_: object) -> None:
    return None


class Supervisor:
    """`budget` failures within `window` seconds are forgiven; one more puts that key into quarantine."""

    def __init__(
        self,
        *,
        dead_letter: Callable[[DeadLetter], object] = _ignore,
        on_quarantine: Callable[[Key, Failure], object] = _ignore,
        budget: int = BUDGET,
        window: float = WINDOW,
    ) -> None:
        self._sink = dead_letter
        self._on_quarantine = on_quarantine
        self._budget = budget
        self._window = window
        self._records: dict[Key, Record] = {}
        self._lock = threading.Lock()

    def on_failure(self, key: Key, message: object | None, error: BaseException) -> Verdict:
        """One hook or message (None: while activating) raised. The message, if any, becomes a dead letter."""
        _log.error(
            "actor failed", actor=str(key), message=None if message is None else type(message).__name__,
            exc_info=error,
        )  # fmt: skip
        metrics.ACTOR_FAILURES.labels(key.kind).inc()
        if message is not None:
            self.bury(key, message, Reason.FAILED, error)
        failure = Failure(clock.now(), _said(error), None if message is None else type(message).__name__)
        with self._lock:
            record = self._record(key)
            record.last = failure
            record.restarts += 1
            now = clock.monotonic()
            record.recent.append(now)
            while now - record.recent[0] > self._window:
                record.recent.popleft()
            if len(record.recent) <= self._budget:
                return Verdict.RESTART
            record.quarantined = True
        return Verdict.QUARANTINE

    def announce_quarantine(self, key: Key) -> None:
        """Tell whoever persists it. Called once the mailbox refuses messages."""
        record = self.record(key)
        metrics.QUARANTINES.labels(key.kind).inc()
        _log.error("actor quarantined", actor=str(key), failures=len(record.recent), window=self._window)
        if record.last is not None:
            self._fenced(self._on_quarantine, key, record.last)

    def bury(self, key: Key, message: object, reason: Reason, error: BaseException | None = None) -> None:
        """Hand a message that no actor handled to the sink."""
        metrics.DEAD_LETTERS.inc()
        text = "" if error is None else "".join(traceback.format_exception(error))
        said = "the actor is in quarantine" if error is None else _said(error)
        self._fenced(self._sink, DeadLetter(key, message, reason, said, text, clock.now()))

    def delay(self, key: Key) -> float:
        """Seconds until an actor that cannot even be activated is tried again."""
        with self._lock:
            failures = len(self._records[key].recent) if key in self._records else 1
        return FIRST_DELAY * 2.0 ** (min(failures, self._budget) - 1)

    def pardon(self, key: Key) -> None:
        """A quarantine was ended by hand: the budget is whole again."""
        with self._lock:
            if key in self._records:
                self._records[key].quarantined = False
                self._records[key].recent.clear()

    def count_restart(self, key: Key) -> None:
        """A restart that was asked for, not suffered."""
        with self._lock:
            self._record(key).restarts += 1

    def record(self, key: Key) -> Record:
        """A copy of what is known of `key`; an empty one when it never failed."""
        with self._lock:
            known = self._records.get(key)
            return (
                Record()
                if known is None
                else Record(known.restarts, known.last, deque(known.recent), known.quarantined)
            )

    def _record(self, key: Key) -> Record:
        record = self._records.pop(key, None) or Record()
        self._records[key] = record  # most recent last
        if len(self._records) > KEPT_RECORDS:
            oldest = next((k for k, r in self._records.items() if not r.quarantined and k != key), None)
            if oldest is not None:
                del self._records[oldest]
        return record

    def _fenced(self, call: Callable[..., object], *args: object) -> None:
        try:
            call(*args)
        except Exception:
            _log.exception("the supervisor's callback failed", callback=repr(call))


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:LONGEST_TEXT]
    except Exception:
        return type(error).__name__
