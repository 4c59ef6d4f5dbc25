"""Takes a request's body off the wire within a bound, so that nobody can fill memory and every refusal can be read.

Sits between Tornado's connection and a handler that wants its whole body. What is too large is read on and thrown
away for `LINGER` bytes more (a client that is still sending would otherwise lose the answer to a reset), beyond that
answered at once and cut. Loop thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)

LONGEST_JSON = 1 << 20
LINGER = 16 << 20
BODY_SECS = 60.0


class BodyCollector(HTTPMessageDelegate):
    """Gathers the body as `request.payload`, at most `longest` bytes, and lets `inner` run once it is whole.

    It leaves on the request: `payload`, or `longest_payload` (in bytes) when there is more and, where the rest is not
    read, `cut`; and `media_type`, which stands for the Content-Type header.
    """

    def __init__(
        self, request: HTTPServerRequest, inner: HTTPMessageDelegate, longest: int = LONGEST_JSON
    ) -> None:
        self._request = request
        self._inner = inner
        self._longest = longest
        self._most = longest + LINGER
        self._chunks = bytearray()
        self._received = 0
        self._answered = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        connection = self._request.connection
        assert connection is not None
        connection.set_body_timeout(BODY_SECS)  # type: ignore[attr-defined]  # every HTTP/1 connection has it
        # Tornado would parse what calls itself a form before the handler can refuse it.
        self._request.media_type = headers.get("Content-Type", "")  # type: ignore[attr-defined]
        headers.pop("Content-Type", None)
        announced = headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced[:19]) > self._most:
            self._answer_and_cut()
            return asyncio.sleep(0)  # by then it has answered, and Tornado asks for no body
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if self._received <= self._longest:
            self._chunks += chunk
        elif self._chunks:
            self._chunks.clear()
        if self._received > self._most and not self._answered:
            self._answer_and_cut()

    def finish(self) -> None:
        if self._answered:
            return
        if self._received > self._longest:
            self._answer_too_large()
            return
        self._request.payload = bytes(self._chunks)  # type: ignore[attr-defined]
        self._inner.finish()

    def on_connection_close(self) -> None:
        self._inner.on_connection_close()

    def _answer_and_cut(self) -> None:
        self._request.cut = True  # type: ignore[attr-defined]
        self._answer_too_large()

    def _answer_too_large(self) -> None:
        self._answered = True
        self._request.longest_payload = self._longest  # type: ignore[attr-defined]
        self._inner.finish()
