"""Whose turn it is among the builds. Told by build actors, on any thread; tells them when they may begin."""

from __future__ import annotations

import threading
from collections.abc import Callable

from platformd.domain.build.queue import Place, next_turns
from platformd.domain.build.state import Build


class BuildTurns:
    """At most `most` builds at once. `begin` is told the id of each whose turn has come."""

    def __init__(self, most: int, begin: Callable[[str], None]) -> None:
        self._most, self._begin = most, begin
        self._lock = threading.Lock()
        self._waiting: dict[str, Build] = {}
        self._running: dict[str, Place] = {}

    def enter(self, build: Build) -> None:
        """Wait, in the order in which builds were asked for. Again: nothing."""
        with self._lock:
            if build.id not in self._running:
                self._waiting[build.id] = build
        self._go_on()

    def leave(self, build_id: str) -> None:
        """Wait or run no longer."""
        with self._lock:
            self._waiting.pop(build_id, None)
            self._running.pop(build_id, None)
        self._go_on()

    def hold(self, build: Build) -> None:
        """One that had its turn has it still."""
        with self._lock:
            self._running[build.id] = build.place

    def _go_on(self) -> None:
        with self._lock:
            waiting = sorted(self._waiting.values(), key=lambda build: (build.created_at, build.id))
            places = {build.id: build.place for build in waiting}
            begun = list(next_turns(places, self._running, self._most))
            for build_id in begun:
                self._running[build_id] = self._waiting.pop(build_id).place
        for build_id in begun:
            self._begin(build_id)
