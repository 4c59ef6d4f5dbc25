"""Following a server across its restarts: a deployment's changes by long poll, its log by a resumed stream.

Used by `Client`. A server that vanishes is tried again for `patience_secs`; what came meanwhile is not missed, as
both go on after the last revision or entry that was seen. Generators belong to the thread that runs them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from platformd import clock
from platformd.client.errors import BadAnswer, ClientError, Problem, Unreachable
from platformd.client.objects import Deployment, LogEntry
from platformd.client.transport import Transport

T = TypeVar("T")

LONG_POLL_SECS = 30
_SILENT_SECS = 45.0  # a stream pings each 15 s
_FIRST_PAUSE_SECS, _LONGEST_PAUSE_SECS = 0.05, 1.0
_NDJSON = "application/x-ndjson"


class _Patience:
    """How long to go on trying: `wait` pauses after a failure, and raises it once there was nothing else for long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._pause = _FIRST_PAUSE_SECS

    def renew(self) -> None:
        self._since, self._pause = None, _FIRST_PAUSE_SECS

    def wait(self, failure: ClientError) -> None:
        now = clock.monotonic()
        self._since = self._since or now
        if now - self._since > self._seconds:
            raise failure
        threading.Event().wait(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECS)


def patiently(seconds: float, call: Callable[[], T]) -> T:
    """What `call` gives, tried again while the server is away, at most so long."""
    patience = _Patience(seconds)
    while True:
        try:
            return call()
        except (Unreachable, Problem) as error:
            if not _passing(error):
                raise
            patience.wait(error)


def changes(transport: Transport, deployment_id: str, patience_secs: float) -> Iterator[Deployment]:
    """The deployment as it is, and again whenever its revision rose. Endless: stop when you have seen enough."""
    seen = 0
    while True:
        query = {"wait": f"{LONG_POLL_SECS}s", "revision": seen} if seen else None
        deployment: Deployment = patiently(patience_secs, partial(_poll, transport, deployment_id, query))
        if deployment["revision"] > seen:
            seen = deployment["revision"]
            yield deployment


def _poll(transport: Transport, deployment_id: str, query: dict[str, object] | None) -> Any:
    wait = LONG_POLL_SECS + transport.timeout
    with transport.exchange("GET", f"/deployments/{deployment_id}", query=query, timeout=wait) as response:
        return _json(response.read())


def entries(
    transport: Transport,
    deployment_id: str,
    *,
    task_id: str | None,
    tail: int,
    after: int | None,
    patience_secs: float,
    on_gap: Callable[[str], None],
) -> Iterator[LogEntry]:
    """Log entries as they come, until the deployment is finished: after the id `after`, else from the last `tail` on.

    `on_gap` is told when entries between are no longer kept.
    """
    patience, position = _Patience(patience_secs), after
    while True:
        query: dict[str, object] = {"task_id": task_id}
        query |= {"tail": tail} if position is None else {"after": position}
        try:
            for line in _lines(transport, f"/deployments/{deployment_id}/logs/stream", query):
                patience.renew()
                if line is None:
                    continue
                match line.get("event"):
                    case None:
                        position = line["id"]
                        yield line  # type: ignore[misc]  # an entry: it is no event
                    case "end":
                        return
                    case "gap" if line.get("code") == "NOT_KEPT":
                        on_gap(str(line.get("detail")))
            # Closed in good order, without an end: the server stops, or we were too slow.
            failure: ClientError = Unreachable(f"{transport.server} closed the stream")
        except _Over:
            return
        except (Unreachable, Problem) as error:
            if not _passing(error):
                raise
            failure = error
        patience.wait(failure)


class _Over(Exception):
    """There is nothing more to come."""


def _lines(transport: Transport, path: str, query: dict[str, object]) -> Iterator[dict[str, Any] | None]:
    """The objects of a stream of JSON lines; None where it shows that it is alive."""
    with transport.exchange(
        "GET", path, query=query, headers={"Accept": _NDJSON}, timeout=_SILENT_SECS
    ) as response:
        if response.status == 204:
            raise _Over
        yield None
        while line := response.readline():
            if line.endswith(b"\n"):  # else the connection broke off within it
                yield _json(line) if line.strip() else None


def _passing(error: ClientError) -> bool:
    """True for a failure that a restart of the server explains."""
    return isinstance(error, Unreachable) or (isinstance(error, Problem) and error.status == 503)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise BadAnswer("the server sent something that is not JSON; is it a platformd?") from None
