"""HTTP to one server: JSON in and out, bodies streamed, refusals and silence as errors of their own.

Each exchange has a connection of its own: one that was kept may turn out closed just when something that must not be
sent twice has been sent. No state is shared. Written once over a `Network`, blocking or on a loop.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import h11

from platformd.client.errors import BadAnswer, Problem, Unreachable
from platformd.client.network import Network, Place, Wire

_LONGEST_PROBLEM = 1 << 20
_LONGEST_LINE = 16 << 20


class Body(Protocol):
    """What is sent piece by piece; `headers` say how much it is."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    def block(self) -> bytes:
        """The next piece; empty at the end."""


class Transport:
    """`server` is an http or https URL, `token` goes into each request, `timeout` (s) bounds each wait."""

    def __init__(self, server: str, token: str | None, timeout: float, network: Network) -> None:
        try:
            where = urlsplit(server if "://" in server else f"http://{server}")
            port = where.port
        except ValueError:
            raise ValueError(f"{server!r} is no address of a server; write http://HOST:PORT") from None
        if where.scheme not in ("http", "https") or not where.hostname or where.query or where.fragment:
            raise ValueError(f"{server!r} is no address of a server; write http://HOST:PORT")
        self.server = f"{where.scheme}://{where.netloc}{where.path.rstrip('/')}"
        self.timeout = timeout
        self.network = network
        tls = where.scheme == "https"
        self._place = Place(where.hostname, port or (443 if tls else 80), tls)
        self._base = f"{where.path.rstrip('/')}/api/v1"
        self._headers = {
            "Host": where.netloc.rpartition("@")[2],
            "Accept": "application/json",
            "User-Agent": "platformd-client",
            "Connection": "close",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    async def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        within: float | None = None,
    ) -> Any:
        """The JSON that the server answers, None where it answers without a body; `body` goes as JSON, `query` without
        its Nones; `within` (s) bounds each wait."""
        whole = None if body is None else _Whole(json.dumps(body).encode())
        async with self.exchange(
            method, path, query=query, body=whole, headers=headers, within=within
        ) as response:
            raw = await response.read()
            if not raw and response.status in (202, 204):
                return None
            try:
                return json.loads(raw)
            except ValueError:
                kind = response.headers.get("content-type", "nothing")
                raise BadAnswer(f"{self.server} answered {kind}, not JSON; is it a platformd?") from None

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        within: float | None = None,
    ) -> AsyncIterator[Response]:
        """The response, its body unread, of a request that was not refused. `Unreachable` also from within."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{self._base}{quote(path, safe='/:')}" + (f"?{urlencode(given)}" if given else "")
        sent = {**self._headers, **(body.headers if body is not None else {}), **(headers or {})}
        if body is None and method not in ("GET", "HEAD", "DELETE"):
            sent["Content-Length"] = "0"
        wait = within or self.timeout
        response: Response | None = None
        try:
            wire = await self.network.connect(self._place, wait)
            try:
                response = Response(wire)
                await self._ask(response, method, target, sent, body)
                if response.status >= 400:
                    raise await self._refusal(response)
                yield response
            finally:
                wire.close()
        except TimeoutError as error:
            raise Unreachable(f"{self.server} does not answer within {wait:g} s") from error
        except (OSError, h11.RemoteProtocolError) as error:
            raise Unreachable(f"{self.server} cannot be reached: {_said(error, response)}") from error

    async def _ask(
        self, response: Response, method: str, target: str, headers: Mapping[str, str], body: Body | None
    ) -> None:
        """Sends the request, as much of it as the server waits for, and reads the head of the answer."""
        await response.send(h11.Request(method=method, target=target, headers=list(headers.items())))
        # It may answer before it has read everything, as it does when something is too large.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while body is not None and not response.heard():
                block = await self.network.run(body.block)
                if not block:
                    break
                await response.send(h11.Data(data=block))
            if body is None or not response.heard():
                await response.send(h11.EndOfMessage())
        await response.begin()

    async def _refusal(self, response: Response) -> Problem | BadAnswer:
        kind = response.headers.get("content-type", "nothing").partition(";")[0].strip()
        if kind != "application/problem+json":
            return BadAnswer(f"{self.server} answered {response.status} with {kind}; is it a platformd?")
        try:
            document = json.loads(await response.read(_LONGEST_PROBLEM))
            wait = response.headers.get("retry-after", "")
            return Problem({"status": response.status, **document}, int(wait) if wait.isdecimal() else None)
        except (ValueError, TypeError, KeyError):
            return BadAnswer(f"{self.server} answered {response.status} with a problem that cannot be read")


class Response:
    """The answer to one request; `status` and `headers` (names in lower case) once it has begun."""

    def __init__(self, wire: Wire) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._wire = wire
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 << 10)

    async def send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        data = self._state.send(event)
        if data:
            await self._wire.send(data)

    def heard(self) -> bool:
        return self._wire.heard()

    async def begin(self) -> None:
        """Waits for its head."""
        while not isinstance(event := await self._next(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("it sent no answer")
        self.status = event.status_code
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}

    async def read(self, limit: int | None = None) -> bytes:
        """All of the body, or what came of it once there are `limit` bytes."""
        parts = bytearray()
        async for part in self.parts():
            parts += part
            if limit is not None and len(parts) >= limit:
                break
        return bytes(parts)

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    async def lines(self) -> AsyncIterator[bytes]:
        """The whole lines of the body; what follows the last newline is none."""
        rest = b""
        async for part in self.parts():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line
            if len(rest) > _LONGEST_LINE:
                raise h11.RemoteProtocolError("it sent a line without end")

    async def _next(self) -> Any:
        while (event := self._state.next_event()) is h11.NEED_DATA:
            self._state.receive_data(await self._wire.receive())
        return event


class _Whole:
    """A body that is there already."""

    def __init__(self, content: bytes) -> None:
        self.headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        self._left = content

    def block(self) -> bytes:
        block, self._left = self._left, b""
        return block


def _said(error: Exception, response: Response | None) -> str:
    if isinstance(error, h11.RemoteProtocolError | ConnectionResetError):
        if response is None or not response.status:
            return "it closed the connection without an answer"
        return "it broke off its answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
