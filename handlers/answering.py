"""How every handler answers: who it is, how long it took, a value as JSON, any error as a problem.

The first layer of `handlers.base.Handler`. Loop thread only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Hashable
from functools import cache, lru_cache
from hashlib import blake2b
from types import TracebackType
from typing import Any, cast

import msgspec
from tornado.httputil import HTTPHeaders, format_timestamp
from tornado.web import HTTPError, RequestHandler

from handlers import problems
from handlers.admission import Admission
from handlers.context import Context
from platformd import clock, ids
from platformd.errors import PlatformError
from platformd.observability import get_logger

JSON = "application/json"

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")
_log = get_logger("handlers")


class Answering(RequestHandler):
    """`spent` is what the request took of the database and of actors, in seconds."""

    context: Context
    admission: Admission

    def initialize(self, context: Context, admission: Admission) -> None:
        self.context = context
        self.admission = admission
        self.problem_headers: dict[str, str] = {}  # what a problem of this resource says beside
        self.spent = {"db": 0.0, "actor": 0.0}

    def clear(self) -> None:
        """As Tornado's, which formats the date anew for each response, and sets headers one by one."""
        self._headers = HTTPHeaders(
            {
                "Content-Type": "text/html; charset=UTF-8",
                "Date": _date(int(clock.now().timestamp())),
                "X-Request-Id": self.request_id,
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            }
        )
        self._write_buffer = []
        self.set_status(200)

    @property
    def request_id(self) -> str:
        """The caller's id if it is sane, else one of ours; the log's lines carry the same."""
        known: str | None = getattr(self.request, "request_id", None)
        if known is None:
            given = self.request.headers.get("X-Request-Id", "")
            known = given if _SANE_ID.match(given) else ids.new_id()
            self.request.request_id = known  # type: ignore[attr-defined]
        return known

    def answer(self, value: object, status: int = 200, *, location: str | None = None) -> None:
        """`value` as JSON; the response is complete."""
        self.set_status(status)
        self.set_header("Content-Type", JSON)
        if location is not None:
            self.set_header("Location", location)
        self.finish(msgspec.json.encode(value))

    def no_content(self) -> None:
        self.set_status(204)
        self.clear_header("Content-Type")
        self.finish()

    def timing(self) -> str:
        """The `Server-Timing` so far, in milliseconds."""
        spent = [(name, duration) for name, duration in self.spent.items() if duration or name == "db"]
        spent.append(("total", self.request.request_time()))
        return ", ".join(f"{name};dur={duration * 1000:.2f}" for name, duration in spent)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        if not self._headers_written:
            self.set_header("Server-Timing", self.timing())
        return super().finish(chunk)

    def compute_etag(self) -> str | None:
        """Of JSON a weak validator over the body, which Tornado compares with `If-None-Match`. For other answers None:
        their validators are the resources' own business."""
        if self._headers.get("Content-Type") != JSON:
            return None
        return f'W/"{blake2b(b"".join(self._write_buffer), digest_size=12).hexdigest()}"'

    def allow_origin(self) -> None:
        origin = self.request.headers.get("Origin")
        if origin is None or origin not in self.admission.cors_origins:
            return
        self.set_header("Access-Control-Allow-Origin", origin)
        self.set_header(
            "Access-Control-Expose-Headers",
            "X-Request-Id, Location, Retry-After, Server-Timing, ETag, Idempotency-Replayed",
        )
        self.set_header("Vary", "Origin")

    @classmethod
    def allowed_methods(cls) -> tuple[str, ...]:
        """What this resource takes, as `Allow` says it."""
        return _methods_of(cast(Hashable, cls))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        raised = kwargs.get("exc_info", (None, None, None))[1]
        error = problems.translated(raised, status_code)
        self.set_status(error.status)
        self.set_header("Content-Type", problems.CONTENT_TYPE)
        self.allow_origin()
        if error.status == 405:
            self.set_header("Allow", ", ".join(self.allowed_methods()))
        for name, value in self.problem_headers.items():
            self.set_header(name, value)
        if getattr(self.request, "cut", False):
            self.set_header("Connection", "close")
        if error.retry_after is not None:
            self.set_header("Retry-After", str(max(1, error.retry_after)))
        self.finish(msgspec.json.encode(problems.document(error, self.request_id)))

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if isinstance(value, PlatformError) and value.status < 500:
            return
        if isinstance(value, HTTPError) and value.status_code < 500:
            return
        if isinstance(value, PlatformError):
            _log.warning("request failed", code=value.code, detail=value.message, path=self.request.path)
            return
        _log.error("request raised", path=self.request.path, exc_info=(typ, value, tb))


@lru_cache(maxsize=1)
def _date(seconds: int) -> str:
    return format_timestamp(seconds)


@cache
def _methods_of(kind: Hashable) -> tuple[str, ...]:
    own = {
        name for name in _METHODS if getattr(kind, name.lower()) is not getattr(RequestHandler, name.lower())
    }
    return tuple(name for name in _METHODS if name in own and (name != "HEAD" or "GET" in own))
