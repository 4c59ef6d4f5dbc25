"""What every handler does: admit, identify, time, read a body, answer JSON, turn any error into a problem.

Every path of the API is served by a subclass of `Handler`, paths that do not exist included. Loop thread only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import cache
from types import TracebackType
from typing import Any, TypeVar, cast

import msgspec
import structlog
from tornado.web import Finish, HTTPError, RequestHandler

from handlers import problems
from handlers.admission import SAFE_METHODS, Admission
from handlers.context import Context
from handlers.jsonbody import decode
from handlers.quantities import seconds
from handlers.schemas import LONGEST_WAIT_SECS, NoQuery, Nothing, WaitQuery
from handlers.specs import invalid
from handlers.validation import collect, collect_query
from platformd import clock, ids
from platformd.errors import NotFound, PlatformError, TooLarge, Unavailable
from platformd.observability import get_logger

T = TypeVar("T")
M = TypeVar("M", bound=msgspec.Struct)

LONGEST_HEAD = 64 << 10
LONGEST_QUERY = 8 << 10
JSON = "application/json"

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")
_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json\s*(?:;|\Z)", re.IGNORECASE)
_log = get_logger("handlers")


class Handler(RequestHandler):
    """One resource. Subclasses define methods by HTTP's names; `HEAD` and `OPTIONS` come with them."""

    context: Context
    admission: Admission
    _spent: dict[str, float]
    _waiting: asyncio.Future[Any] | None = None
    _client_left = False

    def initialize(self, context: Context, admission: Admission) -> None:
        self.context = context
        self.admission = admission
        self.problem_headers: dict[str, str] = {}  # what a problem of this resource says beside
        self._spent = {"db": 0.0, "actor": 0.0}

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    @property
    def request_id(self) -> str:
        """The caller's id if it is sane, else one of ours; the log's lines carry the same."""
        known: str | None = getattr(self.request, "request_id", None)
        if known is None:
            given = self.request.headers.get("X-Request-Id", "")
            known = given if _SANE_ID.match(given) else ids.new_id()
            self.request.request_id = known  # type: ignore[attr-defined]
        return known

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Path segments as text; ids in their canonical lower case."""
        text = super().decode_argument(value, name)
        return text.lower() if len(text) == 36 and ids.is_id(text) else text

    # ---- admission -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        structlog.contextvars.bind_contextvars(request_id=self.request_id)
        self.admit()

    def admit(self) -> None:
        """Raises what refuses this request whatever it wants."""
        request = self.request
        headers = request.headers
        self.admission.check_host(headers.get("Host", ""))
        origin = headers.get("Origin")
        self._allow_origin()
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

    def _allow_origin(self) -> None:
        origin = self.request.headers.get("Origin")
        if origin is None or origin not in self.admission.cors_origins:
            return
        self.set_header("Access-Control-Allow-Origin", origin)
        self.set_header("Access-Control-Expose-Headers", "X-Request-Id, Location, Retry-After, Server-Timing")
        self.set_header("Vary", "Origin")

    @classmethod
    def allowed_methods(cls) -> tuple[str, ...]:
        """What this resource takes, as `Allow` says it."""
        return _methods_of(cast(Hashable, cls))

    async def head(self, *args: str) -> None:
        answer = self.get(*args)
        if answer is not None:
            await answer

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

    # ---- what came -----------------------------------------------------------------------------------------

    def json_body(self) -> object:
        """The decoded body; 400 when it is no JSON, 415 when it does not say that it is."""
        headers, payload = self.request.headers, self.payload
        if headers.get("Content-Encoding", "identity") != "identity":
            raise PlatformError(
                "send the body without Content-Encoding", code="UNSUPPORTED_MEDIA_TYPE", status=415
            )
        if not _JSON_TYPE.match(getattr(self.request, "media_type", "")):
            raise PlatformError(
                "send the body as Content-Type: application/json", code="UNSUPPORTED_MEDIA_TYPE", status=415
            )
        return decode(payload)

    @property
    def payload(self) -> bytes:
        return getattr(self.request, "payload", b"")

    def body(self, kind: type[M]) -> M:
        """The body as `kind`; 422 with every fault at once."""
        parsed, faults = collect(kind, self.json_body())
        if parsed is None:
            raise invalid(faults)
        return parsed

    def no_body(self) -> None:
        """For actions that take nothing: an empty body or an empty object."""
        if self.payload:
            self.body(Nothing)

    def query(self, kind: type[M]) -> M:
        """The query as `kind`; unknown and repeated parameters are faults like any other."""
        parsed, faults = collect_query(kind, self.request.query_arguments)
        if parsed is None:
            raise invalid(faults)
        return parsed

    def no_query(self) -> None:
        if self.request.query:
            self.query(NoQuery)

    # ---- what it takes -------------------------------------------------------------------------------------

    def read(self, ask: Callable[..., T], *args: Any, **options: Any) -> T:
        """A read from the rows, counted as `db` time."""
        start = clock.monotonic()
        try:
            return ask(*args, **options)
        finally:
            self._spent["db"] += clock.monotonic() - start

    async def durable(self, work: Awaitable[T]) -> T:
        """A creation, counted as `db` time."""
        return await self._timed("db", work)

    async def ask(self, kind: str, id: str, command: object) -> Any:
        """An order to an actor, answered after its commit."""
        return await self._timed("actor", self.context.ask(kind, id, command))

    async def _timed(self, what: str, work: Awaitable[T]) -> T:
        start = clock.monotonic()
        try:
            return await work
        finally:
            self._spent[what] += clock.monotonic() - start

    async def long_poll(self, kind: str, id: str, show: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        """What `show(id)` says, at once or, with `?wait=&revision=`, when the revision is above the one given."""
        if not self.request.query:
            return self.read(show, id)
        query = self.query(WaitQuery)
        shown = self.read(show, id)
        if isinstance(query.wait, msgspec.UnsetType):
            return shown
        known = shown["revision"] if isinstance(query.revision, msgspec.UnsetType) else query.revision
        deadline = clock.monotonic() + min(seconds(query.wait), LONGEST_WAIT_SECS)
        while shown["revision"] <= known:
            left = deadline - clock.monotonic()
            if left <= 0 or not await self.unless_closed(
                self.context.hub.wait_revision(kind, id, known, left)
            ):
                break
            shown = self.read(show, id)
        return shown

    async def unless_closed(self, work: Awaitable[T]) -> T:
        """Waits for `work`, and no longer than the client does."""
        waiting: asyncio.Future[T] = asyncio.ensure_future(work)
        self._waiting = waiting
        try:
            return await waiting
        except asyncio.CancelledError:
            if self._client_left:
                raise Finish from None
            raise
        finally:
            self._waiting = None

    def on_connection_close(self) -> None:
        self._client_left = True
        if self._waiting is not None:
            self._waiting.cancel()

    # ---- what goes -----------------------------------------------------------------------------------------

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
        spent = [(name, duration) for name, duration in self._spent.items() if duration or name == "db"]
        spent.append(("total", self.request.request_time()))
        return ", ".join(f"{name};dur={duration * 1000:.2f}" for name, duration in spent)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        if not self._headers_written:
            self.set_header("Server-Timing", self.timing())
        return super().finish(chunk)

    def compute_etag(self) -> None:
        """None: validators are the resources' own business, not a digest over bytes."""

    # ---- what goes wrong -----------------------------------------------------------------------------------

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        raised = kwargs.get("exc_info", (None, None, None))[1]
        error = problems.translated(raised, status_code)
        self.set_status(error.status)
        self.set_header("Content-Type", problems.CONTENT_TYPE)
        self._allow_origin()
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


class NotFoundHandler(Handler):
    """Every path that nothing else serves, whatever the method."""

    def admit(self) -> None:
        self.admission.check_host(self.request.headers.get("Host", ""))
        raise NotFound(f"there is nothing at {self.request.path[:200]!r}")


@cache
def _methods_of(kind: Hashable) -> tuple[str, ...]:
    own = {
        name for name in _METHODS if getattr(kind, name.lower()) is not getattr(RequestHandler, name.lower())
    }
    return tuple(name for name in _METHODS if name in own and (name != "HEAD" or "GET" in own))


def log_request(handler: RequestHandler) -> None:
    """One access line: the path without its query, which may hold a credential."""
    status, request = handler.get_status(), handler.request
    line = _log.debug if status < 400 else _log.info if status < 500 else _log.warning
    line(
        "request",
        method=request.method,
        path=request.path,
        status=status,
        ms=round(request.request_time() * 1000, 2),
        request_id=getattr(request, "request_id", None),
    )


def _size(headers: Iterable[tuple[str, str]]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)
