"""Artifacts: announce, upload, look at, list."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import UnsetType
from tornado.web import HTTPError, stream_request_body

from handlers import answers, schemas
from handlers.base import Handler
from handlers.bodies import LINGER
from handlers.operation import BYTES, Scope, operation
from handlers.paging import page_of
from handlers.retries import digest as fingerprint_of
from handlers.specs import invalid
from platformd import clock
from platformd.artifacts import Measure
from platformd.domain.configuration import DeleteArtifact
from platformd.domain.retries import KeptRequest, RequestKey
from platformd.errors import Conflict, Fault, PlatformError, TooLarge

T = TypeVar("T")

DEFAULT_CONTENT_TYPE = "application/octet-stream"
WRITTEN_AT_ONCE = 512 << 10
STALLED_SECS = 60.0
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")


class ArtifactsHandler(Handler):
    """`/artifacts`."""

    BOUND_CALLERS = True  # who may deploy to an app may bring what is deployed

    @operation(
        "List artifacts",
        Scope.READ,
        query=schemas.ArtifactsQuery,
        answers={200: answers.Page[answers.Artifact]},
    )
    def get(self) -> None:
        self.admit_app(None)
        query = self.query(schemas.ArtifactsQuery)
        self.answer(self.read(self.context.views.artifacts, page_of(query)))

    @operation(
        "Announce an artifact", Scope.DEPLOY, body=schemas.NewArtifact, answers={201: answers.Artifact}
    )
    async def post(self) -> None:
        self.no_query()
        body = self.body(schemas.NewArtifact)
        content_type = DEFAULT_CONTENT_TYPE if isinstance(body.content_type, UnsetType) else body.content_type
        artifact = await self.durable(self.writes.create_artifact(name=body.name, content_type=content_type))
        shown = self.read(self.context.views.render_artifact, artifact)
        self.answer(shown, 201, location=f"/api/v1/artifacts/{artifact.id}")


class ArtifactHandler(Handler):
    """`/artifacts/:id`."""

    BOUND_CALLERS = True

    def initialize(self, *, uploading: set[str], **shared: Any) -> None:  # type: ignore[override]
        super().initialize(**shared)
        self.uploading = uploading

    @operation(
        "Get an artifact", Scope.READ, answers={200: answers.Artifact}, problems=("404 ARTIFACT_NOT_FOUND",)
    )
    def get(self, artifact_id: str) -> None:
        self.no_query()
        self.answer(self.read(self.context.views.artifact, artifact_id))

    @operation(
        "Delete an artifact",
        Scope.DEPLOY,
        answers={204: None},
        problems=("404 ARTIFACT_NOT_FOUND", "409 ARTIFACT_IN_USE", "409 ARTIFACT_UPLOADING"),
    )
    async def delete(self, artifact_id: str) -> None:
        """Refused while a deployment, or a rollback to one, needs it. Its bytes go with the last artifact that has
        them."""
        self.no_query()
        self.admit_app(None)
        self.no_body()
        self.refuse_if_match()
        if artifact_id in self.uploading:
            raise Conflict(
                f"artifact {artifact_id} is being uploaded; wait for its end", code="ARTIFACT_UPLOADING"
            )
        sha256 = await self.durable(self.context.configuration.commit(DeleteArtifact(id=artifact_id)))
        if sha256 is not None and not self.uploading:  # one that is on its way may be of the same bytes
            spare = self.context.artifacts.set_aside(sha256)
            await asyncio.get_running_loop().run_in_executor(None, spare)
        self.no_content()


@stream_request_body
class UploadHandler(Handler):
    """`/artifacts/:id/upload`: raw bytes to disk as they come, hashed and written on a thread, half a megabyte at a
    time; the client waits meanwhile. Nothing is kept of an upload that breaks off or does not match."""

    BOUND_CALLERS = True
    uploading: set[str]
    _artifact_id: str | None = None
    _key_id: str | None = None
    _known: KeptRequest | None = None
    _upload: Measure | None = None
    _refusal: Exception | None = None
    _busy = False
    _whole = False
    _gone = False

    def initialize(  # type: ignore[override]  # Tornado passes what the route says, by name
        self, *, uploading: set[str], **shared: Any
    ) -> None:
        super().initialize(**shared)
        self.uploading = uploading
        self._pending = bytearray()
        self._received = 0
        self._last_chunk = 0.0

    def begin_key(self) -> None:
        """Later: which request this repeats is known once its bytes are."""

    async def prepare(self) -> None:
        try:
            super().prepare()
            self.no_query()
            self._key_id = self.key_id()
            if self._key_id is not None:
                self._known = await self.take_key(self._key_id)
            await self._begin(self.path_args[0])
        except (PlatformError, HTTPError) as error:
            length = self._announced_length()
            if self.request.method != "POST" or length is None or length > LINGER:
                self.request.cut = True  # type: ignore[attr-defined]
                raise
            self._refusal = error  # told once the body is in, lest a reset overtake the answer

    async def _begin(self, artifact_id: str) -> None:
        artifact = self.read(self.context.views.artifact, artifact_id)
        if artifact["sha256"] is not None and self._known is None:
            raise Conflict(
                f"artifact {artifact_id} has its bytes already; create another", code="ARTIFACT_COMPLETE"
            )
        if artifact_id in self.uploading:
            raise Conflict(f"artifact {artifact_id} is being uploaded already", code="ARTIFACT_UPLOADING")
        digest = self.request.headers.get("X-Content-SHA256")
        if digest is not None and not _SHA256.match(digest):
            raise invalid([Fault("/X-Content-SHA256", f"must be 64 hexadecimal digits, not {digest[:80]!r}")])
        if self.request.headers.get("Content-Encoding", "identity") != "identity":
            raise PlatformError(
                "send the bytes without Content-Encoding", code="UNSUPPORTED_MEDIA_TYPE", status=415
            )
        if (self._announced_length() or 0) > self.context.longest_upload:
            raise self._too_large()
        if self._known is None:
            self.uploading.add(artifact_id)
            self._artifact_id = artifact_id
            self._upload = await self._on_thread(self.context.artifacts.open)
        else:
            self._upload = Measure()
        self._last_chunk = clock.monotonic()
        self._watch()

    async def data_received(self, chunk: bytes) -> None:
        if self._upload is None or self._refusal is not None:
            return
        self._last_chunk = clock.monotonic()
        self._received += len(chunk)
        if self._received > self.context.longest_upload:
            self._fail_now(self._too_large())
            return
        self._pending += chunk
        if len(self._pending) >= WRITTEN_AT_ONCE:
            try:
                await self._write_pending()
            except (PlatformError, OSError) as error:
                self._fail_now(error)

    @operation(
        "Upload an artifact's bytes",
        Scope.DEPLOY,
        body=BYTES,
        optional_body=True,
        answers={200: answers.Uploaded},
        problems=(
            "404 ARTIFACT_NOT_FOUND",
            "409 ARTIFACT_COMPLETE",
            "409 ARTIFACT_UPLOADING",
            "413 ARTIFACT_TOO_LARGE",
        ),
    )
    async def post(self, artifact_id: str) -> None:
        if self._refusal is not None:
            raise self._refusal
        upload, self._whole = self._upload, True
        assert upload is not None
        await self._write_pending()
        digest = self.request.headers.get("X-Content-SHA256")
        expected = digest.lower() if digest else None
        sha256, size = await self._on_thread(upload.finish, self._announced_length(), expected)
        self._upload = None
        if self._key_id is not None:
            key = RequestKey(self._key_id, fingerprint_of(self.request.query, sha256))
            if not self.act_or_repeat(key, self._known):
                return
        await self.durable(self.writes.complete_artifact(artifact_id, sha256=sha256, size=size))
        self.answer({"size": size, "sha256": sha256})

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._leave()
        if not self._whole:
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
        if self._artifact_id is not None:
            self.uploading.discard(self._artifact_id)
            self._artifact_id = None

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

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"an artifact has at most {self.context.longest_upload} bytes here", code="ARTIFACT_TOO_LARGE"
        )
