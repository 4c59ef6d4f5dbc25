"""Who may go on: the host and origin of a request, its size, its caller. The second layer of `handlers.base.Handler`.

Loop thread only.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from tornado.web import HTTPError

from handlers.admission import SAFE_METHODS
from handlers.answering import Answering
from handlers.callers import ANYBODY, Caller
from platformd.errors import PlatformError, TooLarge, Unavailable

LONGEST_HEAD = 64 << 10
LONGEST_QUERY = 8 << 10


class Admitting(Answering):
    """`caller` is who calls, once `prepare` is through."""

    caller: Caller = ANYBODY

    def prepare(self) -> None:
        structlog.contextvars.bind_contextvars(request_id=self.request_id)
        self.admit()

    def admit(self) -> None:
        """Raises what refuses this request whatever it wants."""
        request = self.request
        headers = request.headers
        self.admission.check_host(headers.get("Host", ""))
        origin = headers.get("Origin")
        self.allow_origin()
        if request.method not in self.allowed_methods():
            raise HTTPError(405)
        if request.method not in SAFE_METHODS:
            self.admission.check_origin(headers.get("Host", ""), origin, headers.get("Sec-Fetch-Site"))
            if self.context.recovering():
                raise Unavailable("platformd is recovering; try again", code="RECOVERING", retry_after=1)
        if len(request.uri or "") > LONGEST_QUERY or _size(headers.get_all()) > LONGEST_HEAD:
            raise PlatformError("the request's head is too large", code="HEADER_TOO_LARGE", status=431)
        if getattr(request, "payload_too_large", False):
            raise TooLarge("the body is larger than 1 MiB; nothing here takes that much JSON")

    def admit_app(self, app_id: str | None) -> None:
        """Forbidden when the caller's token is bound to another app than the one this is about (None: to no app)."""
        self.caller.require_app(app_id)

    def options(self, *_: str) -> None:
        allowed = ", ".join(self.allowed_methods())
        self.set_header("Allow", allowed)
        if self.request.headers.get("Origin") in self.admission.cors_origins:
            self.set_header("Access-Control-Allow-Methods", allowed)
            self.set_header(
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID, X-API-Key, X-Request-Id",
            )
        self.no_content()


def _size(headers: Iterable[tuple[str, str]]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)
