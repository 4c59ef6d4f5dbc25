"""A log follower as an EventSource is one: reads entries, and resumes after the last id when it was cut off."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.platform import Platform
from tests.support import eventually

_RETRY_SECS = 0.02
_QUIET_SECS = 40.0


class Follower:
    """`entries` as they came, with the instant of each; `events` are the named ones; `cuts` counts lost connections."""

    def __init__(self, api_url: str, deployment_id: str, query: str = "?tail=1000") -> None:
        self._where = urlsplit(api_url)
        self._path = f"/api/v1/deployments/{deployment_id}/logs/stream"
        self._query = query
        self._last_id: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower")
        self._connection: http.client.HTTPConnection | None = None
        self.entries: list[dict[str, Any]] = []
        self.seen_at: list[float] = []
        self.events: list[str] = []
        self.cuts = 0
        self.ended = threading.Event()
        self.failure: BaseException | None = None

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            connection.sock.shutdown(2)
        self._thread.join(_QUIET_SECS)
        assert self.failure is None or kind is not None, self.failure

    def messages(self, stream: str = "stdout") -> list[str]:
        return [entry["message"] for entry in list(self.entries) if entry["stream"] == stream]

    def _run(self) -> None:
        try:
            while not (self._stopping.is_set() or self.ended.is_set()):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self._read()
                self.cuts += 1
                self._stopping.wait(_RETRY_SECS)
        except BaseException as error:
            self.failure = error

    def _read(self) -> None:
        host, port = self._where.hostname or "", self._where.port
        self._connection = connection = http.client.HTTPConnection(host, port, timeout=_QUIET_SECS)
        headers = {"Accept": "text/event-stream"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        try:
            connection.request("GET", self._path + self._query, headers=headers)
            response = connection.getresponse()
            if response.status == 204:
                self.ended.set()
                return
            assert response.status == 200, response.read()
            for name, number, data in _events(response):
                self._take(name, number, data)
        finally:
            connection.close()

    def _take(self, name: str, number: str | None, data: str) -> None:
        if number is not None:
            self._last_id = number
        if name == "message":
            self.seen_at.append(time.monotonic())
            self.entries.append(json.loads(data))
            return
        self.events.append(name)
        if name == "end":
            self.ended.set()


def _events(response: http.client.HTTPResponse) -> Iterator[tuple[str, str | None, str]]:
    name, number, data = "message", None, []
    while raw := response.readline():
        line = raw.decode().rstrip("\r\n")
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "id":
            number = value
        elif field == "data":
            data.append(value)
        elif not line:
            if data:
                yield name, number, "\n".join(data)
            name, number, data = "message", None, []


def stored(platform: Platform, deployment_id: str, query: str = "") -> list[dict[str, Any]]:
    """All stored entries, asked for page by page."""
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        answer = platform.api("GET", f"/deployments/{deployment_id}/logs?after={after}{query}")
        assert answer.status == 200, answer.text
        page = answer.json
        if not page:
            return found
        found += page
        after = page[-1]["id"]


def stored_messages(platform: Platform, deployment_id: str) -> list[str]:
    return [entry["message"] for entry in stored(platform, deployment_id, "&stream=stdout")]


def assert_numbered(messages: list[str], lines: int, size: int) -> None:
    """Exactly the lines a chatter wrote: each once, whole, in order."""
    wanted = [f"{number:08}".ljust(size - 1, ".") for number in range(lines)]
    if messages != wanted:
        at = next(
            (i for i, (one, other) in enumerate(zip(messages, wanted, strict=False)) if one != other), -1
        )
        raise AssertionError(
            f"{len(messages)} lines of {lines}; first difference at {at}: {messages[at : at + 2]}"
        )


def eventually_numbered(read: Any, lines: int, size: int, timeout: float = 30.0) -> None:
    eventually(lambda: len(read()) >= lines, timeout, every=0.1)
    assert_numbered(read(), lines, size)
