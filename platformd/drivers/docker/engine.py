"""Calls of the engine, each bounded in time; and whether there is an engine at all.

Used by the driver's parts in their worker threads: a call blocks for up to ten seconds. What the engine refuses is an
`EngineError`, what it does not answer an `EngineAway`; after that calls fail at once until the watcher has `found` it
again, so that an engine that hangs holds up no more threads than were waiting for it already.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from docker import APIClient
from docker.errors import APIError, DockerException

from platformd import clock, metrics
from platformd.drivers.docker.sdk import sdk_over
from platformd.links.engine import EngineLink

T = TypeVar("T")

CALL_SECS = 10.0


class EngineAway(Exception):
    """The engine did not answer, or not as an engine does; what was asked may have happened or not."""


class EngineError(Exception):
    """The engine's own answer that something cannot be done."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message

    @property
    def transient(self) -> bool:
        """It may well do it when asked again."""
        return self.status >= 500

    @property
    def passing(self) -> bool:
        """Another try to start may find it otherwise: it stumbled, or somebody removes what it speaks of."""
        return self.transient or self.missing or self.conflict

    @property
    def missing(self) -> bool:
        return self.status == 404

    @property
    def conflict(self) -> bool:
        return self.status == 409


class Engine:
    """One engine. `on_change` is told when it goes away (with why) and comes back (None), in the thread that saw it."""

    def __init__(self, address: str, on_change: Callable[[str | None], None]) -> None:
        self.address = address
        self.trouble: str | None = None
        """Why it does not answer; None while it does, or was not asked yet."""
        self.met = False
        """It has been looked for."""
        self._on_change = on_change
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._client: APIClient | None = None
        self._link: EngineLink | None = None

    @property
    def away(self) -> bool:
        return self.trouble is not None

    def call(self, function: Callable[[APIClient], T]) -> T:
        """What `function` gets out of the engine."""
        if self.trouble is not None:
            raise EngineAway(self.trouble)
        return self._bounded(lambda: function(self._open()))

    def ask(self, method: str, path: str) -> Any:
        """One call without the SDK, where its time counts: a wake waits for it. What it says, None for nothing."""
        if self.trouble is not None:
            raise EngineAway(self.trouble)
        return self._bounded(lambda: self._asked(method, path))

    def _asked(self, method: str, path: str) -> Any:
        with self._opening:
            link = self._linked()
        answer = link.ask(method, path)
        if not answer.well:
            raise EngineError(answer.status, answer.message)
        return answer.json

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
            link, self._link = self._link, None
        if client is not None:
            client.close()
        if link is not None:
            link.close()

    def _bounded(self, function: Callable[[], T]) -> T:
        """What the world's failures are called here; and how long it took."""
        began, outcome = clock.monotonic(), "away"
        try:
            result = function()
            outcome = "ok"
            return result
        except EngineError:
            outcome = "refused"
            raise
        except APIError as error:
            outcome = "refused"
            raise EngineError(error.status_code or 500, str(error.explanation or error)) from error
        except (DockerException, OSError, ValueError, KeyError) as error:
            self.lost(_words(error))
            raise EngineAway(self.trouble) from error
        finally:
            metrics.ENGINE_SECONDS.labels(outcome).observe(clock.monotonic() - began)

    def _open(self) -> APIClient:
        with self._opening:
            if self.trouble is not None:  # found out by whoever was here before
                raise EngineAway(self.trouble)
            if self._client is None:
                self._client = sdk_over(self._linked(), self.address)
            return self._client

    def _linked(self) -> EngineLink:
        if self._link is None:
            self._link = EngineLink(self.address, CALL_SECS)
        return self._link

    def lost(self, why: str) -> None:
        """It does not answer; calls fail at once from now on."""
        with self._lock:
            changed, self.trouble, self.met = self.trouble != why, why, True
        if changed:
            self._on_change(why)

    def found(self) -> None:
        """It answers (again)."""
        with self._lock:
            changed = self.trouble is not None or not self.met
            self.trouble, self.met = None, True
        if changed:
            self.close()  # another engine may be there than was before
            self._on_change(None)


def _words(error: BaseException) -> str:
    """The cause at the bottom of what the libraries wrap around it."""
    seen: Any = error
    while (below := seen.__cause__ or seen.__context__) is not None:
        seen = below
    return str(getattr(seen, "strerror", None) or seen) or type(seen).__name__
