"""Timers of actors: one heap, one thread, on the steady clock. A firing is a fact told to the key.

`set` and `clear` are called on any thread, mostly within turns. A firing may come late, or after it was
cleared (it was on its way): the receiver compares `TimerFired.at` with what it wants now.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from actors.messages import Key, TimerFired
from platformd import clock

# The thread looks at least this often: waits stand still while the machine sleeps, the steady clock does not.
LOOK_EVERY = timedelta(seconds=1)
_SLACK = 64
_log = structlog.get_logger("actors")


class _Entry(NamedTuple):
    at: datetime
    order: int
    key: Key
    name: str


class Timers:
    """`tell` gets each firing. Without `start` nothing fires by itself: tests call `fire_due`."""

    def __init__(self, tell: Callable[[Key, TimerFired], object]) -> None:
        self._tell = tell
        self._changed = threading.Condition()
        self._heap: list[_Entry] = []
        self._live: dict[Key, dict[str, _Entry]] = {}
        self._count = 0
        self._order = itertools.count()
        self._next_look: datetime | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._loop, name="actors-timers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Nothing fires any more once this returns."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def set(self, key: Key, name: str, at: datetime) -> None:
        """Fire `name` for `key` at the steady instant `at`, instead of when it was set for before."""
        if at.tzinfo is None:
            raise ValueError(f"timer {name!r} of {key} needs an aware datetime, got {at!r}")
        with self._changed:
            entry = _Entry(at, next(self._order), key, name)
            names = self._live.setdefault(key, {})
            self._count += name not in names
            names[name] = entry
            heapq.heappush(self._heap, entry)
            self._compact()
            # Waking the thread costs a hand-over: only for what is due before it looks anyway.
            if self._next_look is not None and at < self._next_look:
                self._next_look = None
                self._changed.notify()

    def clear(self, key: Key, name: str) -> None:
        """Forget one timer; none there is fine."""
        with self._changed:
            names = self._live.get(key)
            if names is None or names.pop(name, None) is None:
                return
            self._count -= 1
            if not names:
                del self._live[key]
            self._compact()

    def clear_all(self, key: Key) -> None:
        with self._changed:
            self._count -= len(self._live.pop(key, ()))
            self._compact()

    def of(self, key: Key) -> dict[str, datetime]:
        """What is set for `key`: name → instant."""
        with self._changed:
            return {name: entry.at for name, entry in self._live.get(key, {}).items()}

    def __len__(self) -> int:
        return self._count

    def fire_due(self) -> int:
        """Tell every timer that is due; returns how many. What is set meanwhile waits for the next call."""
        now = clock.steady()
        with self._changed:
            due = []
            while self._heap and self._heap[0].at <= now:
                entry = heapq.heappop(self._heap)
                if self._is_live(entry):
                    due.append(entry)
        return sum([self._fire(entry) for entry in due])

    def _fire(self, entry: _Entry) -> bool:
        with self._changed:
            if self._stopped or not self._is_live(entry):
                return False
            names = self._live[entry.key]
            del names[entry.name]
            self._count -= 1
            if not names:
                del self._live[entry.key]
        try:
            self._tell(entry.key, TimerFired(entry.name, entry.at))
        except Exception:
            _log.exception("a timer could not be told", actor=str(entry.key), timer=entry.name)
        return True

    def _is_live(self, entry: _Entry) -> bool:
        return self._live.get(entry.key, {}).get(entry.name) is entry

    def _compact(self) -> None:
        """Cleared entries stay in the heap until they outnumber the live ones."""
        if len(self._heap) <= 2 * self._count + _SLACK:
            return
        self._heap = [entry for names in self._live.values() for entry in names.values()]
        heapq.heapify(self._heap)

    def _loop(self) -> None:
        while True:
            self.fire_due()
            with self._changed:
                if self._stopped:
                    return
                self._wait()

    def _wait(self) -> None:
        now = clock.steady()
        self._next_look = now + LOOK_EVERY
        if self._heap and self._heap[0].at < self._next_look:
            self._next_look = self._heap[0].at
        self._changed.wait(max(0.0, (self._next_look - now).total_seconds()))
        self._next_look = None
