"""What the engine keeps sending (output, events, the progress of a pull), read without a thread for each.

A thread of its own runs an event loop in which every stream is a task; nothing here runs on the service's loop. The SDK
would hold one thread a stream, and cannot be told to stop waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlencode, urlsplit

from platformd.drivers.docker.engine import EngineAway, EngineError

CONNECT_SECS = 5.0
HEAD_SECS = 10.0
_LINE_LIMIT = 1 << 20
_READ = 1 << 16


class Streams:
    """The thread and its loop. `close` cancels every stream."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="engine-streams", daemon=True)
        self._thread.start()
        self._closed = False

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def run(self, stream: Coroutine[Any, Any, Any]) -> Future[Any] | None:
        """Begin it; cancel what is returned to end it. None once closed."""
        if self._closed:
            stream.close()
            return None
        return asyncio.run_coroutine_threadsafe(stream, self._loop)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @contextlib.asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of an answer's body as they come. EngineError when the status is none of success, EngineAway when
        there is no answer, or nothing comes for `silence` seconds."""
        writer = None
        try:
            async with asyncio.timeout(CONNECT_SECS):
                reader, writer = await self._connect()
            writer.write(_request(method, path, query, headers or {}))
            async with asyncio.timeout(HEAD_SECS if silence is None else silence):
                status, chunked, length = await _head(reader)
            body = _body(reader, chunked, length, silence)
            if status >= 300:
                text = b"".join([piece async for piece in body])
                raise EngineError(status, text.decode(errors="replace").strip())
            yield body
        except (OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise EngineAway(str(error) or type(error).__name__) from error
        finally:
            if writer is not None:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self._address)
        if parts.scheme == "unix":
            path = self._address.removeprefix("unix://")
            return await asyncio.open_unix_connection(path, limit=_LINE_LIMIT)
        if parts.scheme in ("tcp", "http") and parts.hostname:
            return await asyncio.open_connection(parts.hostname, parts.port or 2375, limit=_LINE_LIMIT)
        raise OSError(f"{self._address}: only unix:// and tcp:// without TLS can be followed")


def _request(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path}?{urlencode(query)} HTTP/1.1", "Host: docker", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["Content-Length: 0"] if method == "POST" else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _head(reader: asyncio.StreamReader) -> tuple[int, bool, int | None]:
    """(status, whether the body is chunked, its length when told)."""
    raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, _, rest = raw[0].partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"no HTTP answer: {raw[0][:80]!r}")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in raw[1:])
    }
    length = headers.get("content-length")
    chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    return int(rest[:3]), chunked, None if length is None else int(length)


async def _body(
    reader: asyncio.StreamReader, chunked: bool, length: int | None, silence: float | None
) -> AsyncIterator[bytes]:
    """Ends well only where the answer does; EOFError when it is cut short."""
    while chunked:
        async with asyncio.timeout(silence):
            size = int((await reader.readline()).split(b";")[0] or b"x", 16)
            if size == 0:
                return
            piece = await reader.readexactly(size)
            await reader.readexactly(2)
        yield piece
    left = length
    while left is None or left > 0:
        async with asyncio.timeout(silence):
            piece = await reader.read(_READ if left is None else min(left, _READ))
        if not piece:
            if left is not None:
                raise EOFError(f"the answer broke off {left} bytes before its end")
            return
        left = None if left is None else left - len(piece)
        yield piece
