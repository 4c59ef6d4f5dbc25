"""Tells waiting pages how far a wake is: `GET /.well-known/platformd/wake` with `Accept: text/event-stream`.

The gateway answers that on every host; asked in any other way the path is the app's. A follower is neither held nor in
flight: it wakes nothing and keeps nothing awake. All are looked at by the ticker, so no other part needs to tell them.
Events: `phase` {phase}, and as the last one `ready` {} or `failed` {code, detail}. Gateway loop thread only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import json

from platformd.gateway.answers import Problem
from platformd.gateway.pages import WAKE_PATH
from platformd.gateway.protocol import HostRefusal

if TYPE_CHECKING:
    from platformd.gateway.core import Gateway
    from platformd.gateway.server import Client

PATH = WAKE_PATH.encode()
PING_SECS = 15.0
# Beyond the wake's own time limit: serve says first how it ended.
PATIENCE_SECS = 5.0
_ACCEPTS = re.compile(rb"^accept:[^\r\n]*text/event-stream", re.IGNORECASE | re.MULTILINE)


@dataclass(slots=True)
class _Seen:
    """What a follower was told, and when it came and was last written to."""

    since: float
    written: float
    phase: str = ""


class Followers:
    """Every open stream of this kind."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._seen: dict[Client, _Seen] = {}

    @staticmethod
    def asked_by(client: Client) -> bool:
        """True when the request, whose path is PATH, is for events."""
        return client.method == b"GET" and _ACCEPTS.search(client.block.forward) is not None

    def add(self, client: Client) -> None:
        """Answer with events from now on."""
        now = self._gateway.now
        client.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
            b"X-Accel-Buffering: no\r\nX-Request-Id: %b\r\nConnection: close\r\n\r\nretry: 1000\n\n"
            % client.request_id
        )
        self._seen[client] = _Seen(now, now)
        self._look(client, now)

    def remove(self, client: Client) -> None:
        """It left."""
        self._seen.pop(client, None)

    def tick(self, now: float) -> None:
        """Say what has changed."""
        for client in [*self._seen]:
            self._look(client, now)

    def _look(self, client: Client, now: float) -> None:
        seen = self._seen[client]
        found = self._state_of(client, now - seen.since)
        if isinstance(found, Problem):
            self._end(client, "failed", {"code": found.code, "detail": found.detail})
        elif found is None:
            self._end(client, "ready", {})
        elif found != seen.phase:
            seen.phase, seen.written = found, now
            _say(client, "phase", {"phase": found})
        elif now - seen.written > PING_SECS:
            seen.written = now
            client.transport.write(b": ping\n\n")

    def _state_of(self, client: Client, age: float) -> str | Problem | None:
        """The phase, why it failed, or None when it is ready."""
        table = self._gateway.table
        route = table.hosts.get(client.block.host)
        if route is None:
            return Problem(404, "NO_HOST", "No app answers here any more.") if table.synced else "starting"
        if isinstance(route, HostRefusal):
            return Problem.no_deployment(route)
        if route.tasks:
            return None
        if route.failure is not None:
            return route.failure
        if not route.config.wakeable:
            return Problem.refusal(route.config.refusal)
        if age > route.config.wake_timeout + PATIENCE_SECS:
            return Problem(504, "WAKE_TIMEOUT", f"It did not become ready; its phase is {route.state}.")
        return route.state

    def _end(self, client: Client, event: str, data: dict[str, Any]) -> None:
        del self._seen[client]
        _say(client, event, data)
        client.end()


def _say(client: Client, event: str, data: dict[str, Any]) -> None:
    client.transport.write(b"event: %b\ndata: %b\n\n" % (event.encode(), json.encode(data)))
