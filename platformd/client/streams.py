"""Following a server across its restarts: changes by long poll, output and events by streams that resume.

Used by the clients. A server that vanishes is tried again for `patience` seconds; what came meanwhile is not missed,
as both go on after the last revision or entry that was seen.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from platformd import clock
from platformd.client.errors import BadAnswer, ClientError, Problem, Unreachable
from platformd.client.network import Network
from platformd.client.transport import Transport

T = TypeVar("T")

LONG_POLL_SECS = 30
_SILENT_SECS = 45.0  # a stream pings each 15 s
_FIRST_PAUSE_SECS, _LONGEST_PAUSE_SECS = 0.05, 1.0
_NDJSON = {"Accept": "application/x-ndjson"}


class _Patience:
    """How long to go on trying: `wait` pauses after a failure, and raises it once there was nothing else for long."""

    def __init__(self, network: Network, seconds: float) -> None:
        self._network = network
        self._seconds = seconds
        self._since: float | None = None
        self._pause = _FIRST_PAUSE_SECS

    def renew(self) -> None:
        self._since, self._pause = None, _FIRST_PAUSE_SECS

    async def wait(self, failure: ClientError) -> None:
        now = clock.monotonic()
        self._since = self._since or now
        if now - self._since > self._seconds:
            raise failure
        await self._network.pause(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECS)


async def patiently(network: Network, seconds: float, call: Callable[[], Awaitable[T]]) -> T:
    """What `call` gives, tried again while the server is away, at most so long."""
    patience = _Patience(network, seconds)
    while True:
        try:
            return await call()
        except (Unreachable, Problem) as error:
            if not _passing(error):
                raise
            await patience.wait(error)


async def changes(transport: Transport, path: str, patience_secs: float) -> AsyncIterator[Any]:
    """The object at `path` as it is, and again whenever its revision rose. Endless: stop when you have seen enough."""
    seen = 0
    wait = LONG_POLL_SECS + transport.timeout

    async def poll() -> Any:
        query = {"wait": f"{LONG_POLL_SECS}s", "revision": seen} if seen else None
        return await transport.json("GET", path, query=query, within=wait)

    while True:
        found = await patiently(transport.network, patience_secs, poll)
        if found["revision"] > seen:
            seen = found["revision"]
            yield found


async def entries(
    transport: Transport,
    path: str,
    *,
    query: Mapping[str, object],
    tail: int,
    after: int | None,
    patience_secs: float,
    on_gap: Callable[[str], None],
) -> AsyncIterator[Any]:
    """What a stream carries, until it has an end: after the id `after`, else from the last `tail` on.

    `on_gap` is told when something between is no longer kept.
    """
    patience, position = _Patience(transport.network, patience_secs), after
    while True:
        place: dict[str, object] = {"tail": tail} if position is None else {"after": position}
        try:
            async for line in _lines(transport, path, {**query, **place}):
                patience.renew()
                if line is None:
                    continue
                if "id" in line:
                    position = line["id"]
                    yield line
                elif line.get("event") == "end":
                    return
                elif line.get("event") == "gap" and line.get("code") == "NOT_KEPT":
                    on_gap(str(line.get("detail")))
            # Closed in good order, without an end: the server stops, or we were too slow.
            failure: ClientError = Unreachable(f"{transport.server} closed the stream")
        except _Over:
            return
        except (Unreachable, Problem) as error:
            if not _passing(error):
                raise
            failure = error
        await patience.wait(failure)


def unheard(_why: str) -> None:
    """The gap callback of those who do not mind."""


class _Over(Exception):
    """There is nothing more to come."""


async def _lines(
    transport: Transport, path: str, query: Mapping[str, object]
) -> AsyncIterator[dict[str, Any] | None]:
    """The objects of a stream of JSON lines; None where it shows that it is alive."""
    async with transport.exchange("GET", path, query=query, headers=_NDJSON, within=_SILENT_SECS) as response:
        if response.status == 204:
            raise _Over
        yield None
        async for line in response.lines():
            yield _json(line) if line.strip() else None


def _passing(error: ClientError) -> bool:
    """True for a failure that a restart of the server explains."""
    return isinstance(error, Unreachable) or (isinstance(error, Problem) and error.status == 503)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise BadAnswer("the server sent something that is not JSON; is it a platformd?") from None
