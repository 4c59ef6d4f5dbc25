"""Raw bytes to disk as they come, hashed and written on a thread, half a megabyte at a time.

What artifacts and trees have in common. Loop thread only.
"""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from tornado.web import HTTPError, stream_request_body

from handlers.base import Handler
from handlers.bodies import LINGER
from handlers.retries import digest as fingerprint_of
from handlers.specs import invalid
from platformd import clock
from platformd.artifacts import ArtifactFiles, Measure
from platformd.domain.requests import RequestKey
from platformd.domain.retries import KeptRequest
from platformd.errors import Fault, PlatformError, TooLarge

T = TypeVar("T")

WRITTEN_AT_ONCE = 512 << 10
STALLED_SECS = 60.0
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")


@stream_request_body
class Uploading(Handler):
    """A POST whose body goes to `files`, at most `longest` bytes; the client waits while they are written. Nothing is
    kept of an upload that breaks off or does not match.

    `known` is what was answered to the request before, `whole` whether all bytes have come.
    """

    files: ArtifactFiles
    longest: int
    known: KeptRequest | None = None
    whole = False
    _key_id: str | None = None
    _upload: Measure | None = None
    _refusal: Exception | None = None
    _busy = False
    _gone = False

    def initialize(self, **shared: Any) -> None:  # type: ignore[override]  # by name
        super().initialize(**shared)
        self._pending = bytearray()
        self._received = 0
        self._last_chunk = 0.0

    # ---- what differs --------------------------------------------------------------------------------------

    @abstractmethod
    def expect(self) -> None:
        """Refuse what is not to be sent; take what nobody else may have meanwhile."""

    @abstractmethod
    def release(self) -> None:
        """What `expect` took, once the upload is over; may come more than once."""

    @abstractmethod
    def too_large(self) -> TooLarge:
        """The problem of more than `longest` bytes."""

    # ---- how the bytes come --------------------------------------------------------------------------------

    def begin_key(self) -> None:
        """Later: which request this repeats is known once its bytes are."""

    async def prepare(self) -> None:
        try:
            super().prepare()
            self._key_id = self.key_id()
            if self._key_id is not None:
                self.known = await self.take_key(self._key_id)
            await self._begin()
        except (PlatformError, HTTPError) as error:
            length = self._announced_length()
            if self.request.method != "POST" or length is None or length > LINGER:
                self.request.cut = True  # type: ignore[attr-defined]
                raise
            self._refusal = error  # told once the body is in, lest a reset overtake the answer

    async def _begin(self) -> None:
        self.expect()
        digest = self.request.headers.get("X-Content-SHA256")
        if digest is not None and not _SHA256.match(digest):
            raise invalid([Fault("/X-Content-SHA256", f"must be 64 hexadecimal digits, not {digest[:80]!r}")])
        if self.request.headers.get("Content-Encoding", "identity") != "identity":
            raise PlatformError(
                "send the bytes without Content-Encoding", code="UNSUPPORTED_MEDIA_TYPE", status=415
            )
        if (self._announced_length() or 0) > self.longest:
            raise self.too_large()
        if self.known is None:
            self._upload = await self._on_thread(self.files.open)
            if self._gone:
                self._leave()
        else:
            self._upload = Measure()
        self._last_chunk = clock.monotonic()
        self._watch()

    async def data_received(self, chunk: bytes) -> None:
        if self._upload is None or self._refusal is not None:
            return
        self._last_chunk = clock.monotonic()
        self._received += len(chunk)
        if self._received > self.longest:
            self._fail_now(self.too_large())
            return
        self._pending += chunk
        if len(self._pending) >= WRITTEN_AT_ONCE:
            try:
                await self._write_pending()
            except (PlatformError, OSError) as error:
                self._fail_now(error)

    async def received(self) -> tuple[str, int] | None:
        """(sha256, size) of all bytes, which are in place; None for a request that was answered as before."""
        if self._refusal is not None:
            raise self._refusal
        upload, self.whole = self._upload, True
        assert upload is not None
        await self._write_pending()
        digest = self.request.headers.get("X-Content-SHA256")
        expected = digest.lower() if digest else None
        sha256, size = await self._on_thread(upload.finish, self._announced_length(), expected)
        self._upload = None
        if self._key_id is not None:
            key = RequestKey(self._key_id, fingerprint_of(self.request.query, sha256))
            if not self.act_or_repeat(key, self.known):
                return None
        return sha256, size

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._leave()
        if not self.whole:
            self.leave_key()

    def on_finish(self) -> None:
        super().on_finish()
        self._leave()

    async def _write_pending(self) -> None:
        if self._pending and self._upload is not None:
            written, self._pending = self._pending, bytearray()
            await self._on_thread(self._upload.write, written)

    async def _on_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Blocking work on the disk; an upload that ended meanwhile is taken back afterwards."""
        self._busy = True
        try:
            return await self.durable(asyncio.get_running_loop().run_in_executor(None, work, *args))
        finally:
            self._busy = False
            if self._gone:
                self._leave()

    def _leave(self) -> None:
        self._gone = True
        if self._busy:
            return
        upload, self._upload = self._upload, None
        if upload is not None:
            asyncio.get_running_loop().run_in_executor(
                None, upload.abort
            )  # a large file takes its time to go
        self.release()

    def _fail_now(self, error: Exception) -> None:
        """Answers while the body still comes; Tornado then cuts the connection."""
        self._refusal = error
        self.request.cut = True  # type: ignore[attr-defined]
        self.log_exception(type(error), error, error.__traceback__)
        self.send_error(500, exc_info=(type(error), error, error.__traceback__))

    def _watch(self) -> None:
        """A client that stands still loses its connection, and with it the upload."""
        if self._gone or self._finished:
            return
        if not self._busy and clock.monotonic() - self._last_chunk > STALLED_SECS:
            connection: Any = self.request.connection
            connection.stream.close()
            return
        asyncio.get_running_loop().call_later(STALLED_SECS / 2, self._watch)

    def _announced_length(self) -> int | None:
        """None for a chunked body, 0 for none at all."""
        if "Transfer-Encoding" in self.request.headers:
            return None
        text = self.request.headers.get("Content-Length", "0")
        return int(text) if text.isdecimal() and len(text) < 19 else None
