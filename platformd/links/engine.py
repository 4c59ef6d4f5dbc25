"""Requests to a Docker engine over connections that stay open: for calls whose time counts, and for who needs no SDK.

Called by the Docker driver's workers, also below the SDK, by `platformd doctor` and the benchmarks; any thread. A call
costs some 0.3 ms beyond the engine's own work.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from platformd import clock

KEPT = 16
HTTP_PORT = 2375


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    status: int
    body: bytes

    @property
    def well(self) -> bool:
        """Done, or done already."""
        return self.status < 400

    @property
    def json(self) -> Any:
        """None when there is no body; ValueError when it is none of JSON."""
        return json.loads(self.body) if self.body.strip() else None

    @property
    def message(self) -> str:
        """What the engine says is wrong."""
        try:
            return str(self.json["message"])
        except (ValueError, KeyError, TypeError):
            return self.body[:500].decode(errors="replace").strip() or f"status {self.status}"


class EngineLink:
    """`address` is unix://PATH, or tcp://HOST:PORT without TLS. What goes wrong on the way is an OSError, no whole
    answer within `seconds` among it."""

    def __init__(self, address: str, seconds: float) -> None:
        self._address, self._seconds = address, seconds
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._closed = False

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> EngineAnswer:
        """A kept connection that the engine has left is replaced: what is asked here may be asked twice."""
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        raw, sent = _encoded(body, headers or {})
        if kept is not None:
            try:
                return self._asked(kept, method, path, raw, sent)
            except TimeoutError:
                raise
            except OSError:
                pass
        return self._asked(_Connection(self._address), method, path, raw, sent)

    def _asked(
        self,
        connection: _Connection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> EngineAnswer:
        try:
            connection.bound(self._seconds)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = EngineAnswer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if isinstance(error, OSError):
                raise
            raise OSError(f"it does not answer as an engine does: {error!r}") from error
        self._keep(connection, response.will_close)
        return answer

    def _keep(self, connection: _Connection, over: bool) -> None:
        with self._lock:
            if not (over or self._closed) and len(self._idle) < KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Those in use are closed as they are given back."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for connection in idle:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """Not connected yet; OSError for an address of another kind."""

    sock: _BoundSocket | None

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._path = address.removeprefix("unix://") if parts.scheme == "unix" else None
        if self._path is None and (parts.scheme not in ("tcp", "http") or not parts.hostname):
            raise OSError(f"{address}: only unix:// and tcp:// without TLS can be reached")
        super().__init__(parts.hostname or "docker", parts.port or HTTP_PORT)
        self._until = 0.0

    def bound(self, seconds: float) -> None:
        """What is asked next has to be answered in whole within `seconds`, however the answer trickles in."""
        self._until = clock.monotonic() + seconds
        if self.sock is not None:
            self.sock.until = self._until

    def connect(self) -> None:
        self.sock = _BoundSocket(socket.AF_UNIX) if self._path is not None else self._over_tcp()
        self.sock.until = self._until
        if self._path is not None:
            self.sock.hurry()
            self.sock.connect(self._path)

    def _over_tcp(self) -> _BoundSocket:
        left = max(0.001, self._until - clock.monotonic())
        plain = socket.create_connection((self.host, self.port), left)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _BoundSocket(fileno=plain.detach())


class _BoundSocket(socket.socket):
    """Waits until the instant `until` and no longer, whatever came before."""

    until = 0.0

    def hurry(self) -> None:
        left = self.until - clock.monotonic()
        if left <= 0:
            raise TimeoutError("no whole answer in time")
        self.settimeout(left)

    def recv_into(self, *place: Any) -> int:
        self.hurry()
        return super().recv_into(*place)

    def sendall(self, *what: Any) -> None:
        self.hurry()
        super().sendall(*what)


def _encoded(
    body: bytes | Mapping[str, object] | None, headers: Mapping[str, str]
) -> tuple[bytes | None, dict[str, str]]:
    if body is None or isinstance(body, bytes):
        return body, dict(headers)
    return json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
