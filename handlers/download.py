"""An artifact's bytes, whole or in part, read on a thread and sent as fast as the client takes them."""

from __future__ import annotations

import asyncio
import os
import re
from typing import BinaryIO

from tornado.iostream import StreamClosedError

from handlers.base import Handler
from handlers.operation import FILE, Scope, operation
from platformd.errors import Conflict, NotFound, PlatformError

SENT_AT_ONCE = 256 << 10
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})\Z")


class DownloadHandler(Handler):
    """`/artifacts/:id/download`, with `ETag` and `Range`."""

    @operation(
        "Download an artifact's bytes",
        Scope.READ,
        answers={200: FILE, 206: FILE, 304: None},
        problems=(
            "404 ARTIFACT_NOT_FOUND",
            "404 ARTIFACT_LOST",
            "409 ARTIFACT_INCOMPLETE",
            "416 RANGE_NOT_SATISFIABLE",
        ),
    )
    async def get(self, artifact_id: str) -> None:
        self.no_query()
        artifact = self.read(self.context.views.artifact, artifact_id)
        if artifact["sha256"] is None:
            raise Conflict(
                f"artifact {artifact_id} has no bytes yet; upload them", code="ARTIFACT_INCOMPLETE"
            )
        etag = f'"{artifact["sha256"]}"'
        self.set_header("ETag", etag)
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        if _names(self.request.headers.get("If-None-Match", ""), etag):
            self.set_status(304)
            self.finish()
            return
        start, end = self._range(artifact["size"], etag)
        self.set_header("Content-Type", artifact["content_type"])
        self.set_header("Content-Disposition", "attachment")
        self.set_header("Content-Length", str(end - start))
        self.set_header("Server-Timing", self.timing())
        if self.request.method == "HEAD":
            self.finish()
            return
        await self._send(artifact["sha256"], start, end)

    def _range(self, size: int, etag: str) -> tuple[int, int]:
        """The part asked for, as [start, end); the whole when none is, or when it was of other bytes."""
        header = self.request.headers.get("Range")
        condition = self.request.headers.get("If-Range")
        match = _RANGE.match(header) if header is not None else None
        if match is None or (condition is not None and condition != etag) or not (match[1] or match[2]):
            return 0, size
        if match[1]:
            start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
        else:
            start, end = max(0, size - int(match[2])), size
        if start >= end:
            self.problem_headers["Content-Range"] = f"bytes */{size}"
            raise PlatformError(
                f"the range {header!r} is outside the {size} bytes there are",
                code="RANGE_NOT_SATISFIABLE",
                status=416,
            )
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        return start, end

    async def _send(self, sha256: str, start: int, end: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            file = await loop.run_in_executor(None, open, self.context.artifacts.path(sha256), "rb")
        except FileNotFoundError:
            raise NotFound(f"the bytes {sha256} are gone from the disk", code="ARTIFACT_LOST") from None
        with file:
            while start < end:
                chunk = await loop.run_in_executor(None, _read, file, start, min(SENT_AT_ONCE, end - start))
                if not chunk:
                    break
                start += len(chunk)
                self.write(chunk)
                try:
                    await self.flush()
                except StreamClosedError:
                    return


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    return os.pread(file.fileno(), length, offset)


def _names(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in header.split(","))
