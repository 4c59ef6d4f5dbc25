"""One HTTP exchange with a server: connect, send, read, and turn what went wrong into `ClientError`s.

Used by `Client` alone. Each exchange has a connection of its own: one that was kept may turn out closed just when
something that must not be sent twice has been sent. No state is shared, so any thread may call.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import RawIOBase
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from platformd.client.errors import BadAnswer, Problem, Unreachable

_BLOCK = 256 << 10
_LONGEST_PROBLEM = 1 << 20

Body = bytes | RawIOBase


class Transport:
    """`server` is an http or https URL, `token` goes into each request, `timeout` (s) bounds each wait."""

    def __init__(self, server: str, token: str | None, timeout: float) -> None:
        where = urlsplit(server if "://" in server else f"http://{server}")
        if where.scheme not in ("http", "https") or not where.hostname or where.query or where.fragment:
            raise ValueError(f"{server!r} is no address of a server; write http://HOST:PORT")
        self.server = f"{where.scheme}://{where.netloc}{where.path.rstrip('/')}"
        self.timeout = timeout
        self._host, self._port = where.hostname, where.port
        self._make = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        self._base = f"{where.path.rstrip('/')}/api/v1"
        self._headers = {"Accept": "application/json", "User-Agent": "platformd-client"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def json(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None, body: object = None
    ) -> Any:
        """The JSON that the server answers; `body` goes as JSON, `query` without its Nones."""
        raw = None if body is None else json.dumps(body).encode()
        headers = {} if raw is None else {"Content-Type": "application/json"}
        with self.exchange(method, path, query=query, body=raw, headers=headers) as response:
            return self._decoded(response)

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """The response, its body unread, of a request that was not refused. `Unreachable` also from within."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{self._base}{quote(path)}" + (f"?{urlencode(given)}" if given else "")
        connection = self._make(self._host, self._port, timeout=timeout or self.timeout, blocksize=_BLOCK)
        try:
            response = self._sent(connection, method, target, body, {**self._headers, **(headers or {})})
            if response.status >= 400:
                raise self._refusal(response)
            yield response
        except TimeoutError as error:
            raise Unreachable(
                f"{self.server} does not answer within {timeout or self.timeout:g} s"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.server} cannot be reached: {_said(error)}") from error
        finally:
            connection.close()

    def _sent(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: Body | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        connection.connect()
        try:
            connection.request(method, target, body, dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            # It may have answered before it had read everything, as it does when something is too large.
            with contextlib.suppress(OSError, http.client.HTTPException):
                return connection.getresponse()
            raise
        return connection.getresponse()

    def _decoded(self, response: http.client.HTTPResponse) -> Any:
        raw = response.read()
        try:
            return json.loads(raw)
        except ValueError:
            kind = response.headers.get("Content-Type", "nothing")
            raise BadAnswer(f"{self.server} answered {kind}, not JSON; is it a platformd?") from None

    def _refusal(self, response: http.client.HTTPResponse) -> Problem | BadAnswer:
        kind = response.headers.get_content_type()
        if kind != "application/problem+json":
            return BadAnswer(f"{self.server} answered {response.status} with {kind}; is it a platformd?")
        try:
            document = json.loads(response.read(_LONGEST_PROBLEM))
            wait = response.headers.get("Retry-After", "")
            return Problem({"status": response.status, **document}, int(wait) if wait.isdecimal() else None)
        except (ValueError, TypeError, KeyError):
            return BadAnswer(f"{self.server} answered {response.status} with a problem that cannot be read")


def _said(error: Exception) -> str:
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError):
        return "it closed the connection without an answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
