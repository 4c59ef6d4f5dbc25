"""Who may go on: the host and origin of a request, its size, its caller. The second layer of `handlers.base.Handler`.

Loop thread only.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable
from typing import Any, ClassVar

import structlog
from tornado.web import HTTPError

from handlers.admission import SAFE_METHODS
from handlers.answering import Answering
from handlers.authentication import Authentication, secret_in
from handlers.callers import ANYBODY, Caller
from handlers.operation import operation_of
from platformd.errors import PlatformError, TooLarge, Unauthenticated, Unavailable

LONGEST_HEAD = 64 << 10
LONGEST_QUERY = 8 << 10
_OF_AN_APP = re.compile(r"/api/v1/(apps|deployments|tasks|builds)/([0-9A-Fa-f-]{36})(?:/|\Z)")


class Admitting(Answering):
    """`caller` is who calls, once `prepare` is through.

    Whose token is bound to one app may come to what is in that app by its path, and beyond that only to handlers that
    say with `BOUND_CALLERS` that they look after it themselves.
    """

    BOUND_CALLERS: ClassVar[bool] = False
    authentication: Authentication
    caller: Caller = ANYBODY

    def initialize(self, authentication: Authentication, **shared: Any) -> None:  # type: ignore[override]  # by name
        super().initialize(**shared)
        self.authentication = authentication

    def prepare(self) -> Awaitable[None] | None:
        structlog.contextvars.bind_contextvars(request_id=self.request_id)
        self.admit()
        return None

    def admit(self) -> None:
        """Raises what refuses this request whatever it wants."""
        request = self.request
        headers = request.headers
        self.admission.check_host(headers.get("Host", ""))
        origin = headers.get("Origin")
        self.allow_origin()
        if request.method not in self.allowed_methods():
            raise HTTPError(405)
        self.identify()
        if request.method not in SAFE_METHODS:
            self.admission.check_origin(headers.get("Host", ""), origin, headers.get("Sec-Fetch-Site"))
            if self.context.recovering():
                raise Unavailable("platformd is recovering; try again", code="RECOVERING", retry_after=1)
        if len(request.uri or "") > LONGEST_QUERY or _size(headers.get_all()) > LONGEST_HEAD:
            raise PlatformError("the request's head is too large", code="HEADER_TOO_LARGE", status=431)
        longest: int | None = getattr(request, "longest_payload", None)
        if longest is not None:
            raise TooLarge(
                f"the body is larger than {longest >> 20} MiB, which is the most that is taken here"
            )

    def identify(self) -> None:
        """Sets `caller`; Unauthenticated or Forbidden unless whoever calls may do this."""
        declared = operation_of(type(self), self.request.method or "")
        if declared is None or declared.scope is None:
            return
        secret, ticket = self.shown()
        try:
            self.caller = self.authentication.admit(declared, secret, ticket)
        except Unauthenticated:
            self.problem_headers["WWW-Authenticate"] = 'Bearer realm="platformd"'
            raise
        if self.caller.app_id is not None and not self.BOUND_CALLERS:
            self.admit_app(self._app_of_path())

    def shown(self) -> tuple[str | None, str | None]:
        """The token and the ticket that the request carries."""
        return secret_in(self.request.headers), None

    def _app_of_path(self) -> str | None:
        found = _OF_AN_APP.match(self.request.path)
        if found is None:
            return None
        kind, id = found[1], found[2].lower()
        if kind == "apps":
            return id
        views, built = self.context.views, self.context.built
        show = {"deployments": views.deployment, "tasks": views.task, "builds": built.build}[kind]
        return str(show(id)["app_id"])

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
                "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-API-Key, "
                "X-Request-Id",
            )
        self.no_content()


def _size(headers: Iterable[tuple[str, str]]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)
