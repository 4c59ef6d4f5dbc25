"""What a handler reads and whom it asks: body and query, rows, actors, long polls. The third layer of
`handlers.base.Handler`.

Loop thread only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from tornado.web import Finish

from handlers.admitting import Admitting
from handlers.jsonbody import decode
from handlers.quantities import seconds
from handlers.schemas import NoQuery, Nothing, WaitQuery
from handlers.specs import invalid
from handlers.validation import collect, collect_query
from handlers.words import LONGEST_WAIT_SECS
from platformd import clock, ids
from platformd.errors import PlatformError, PreconditionFailed

T = TypeVar("T")
M = TypeVar("M", bound=msgspec.Struct)

_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json\s*(?:;|\Z)", re.IGNORECASE)
_REVISION = re.compile(r"[0-9]{1,18}\Z")


class Reading(Admitting):
    """Everything that comes in."""

    body_types = "application/json"
    _waiting: asyncio.Future[Any] | None = None
    _client_left = False
    given_up = False
    """The client left before there was an answer: nothing that is sent now says what became of the request."""

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Path segments as text; ids in their canonical lower case."""
        text = super().decode_argument(value, name)
        return text.lower() if len(text) == 36 and ids.is_id(text) else text

    def json_body(self) -> object:
        """The decoded body; 400 when it is no JSON, 415 when it does not say that it is."""
        headers, payload = self.request.headers, self.payload
        if headers.get("Content-Encoding", "identity") != "identity":
            raise PlatformError(
                "send the body without Content-Encoding", code="UNSUPPORTED_MEDIA_TYPE", status=415
            )
        if not _JSON_TYPE.match(getattr(self.request, "media_type", "")):
            raise PlatformError(
                f"send the body as Content-Type: {self.body_types}", code="UNSUPPORTED_MEDIA_TYPE", status=415
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

    def if_match(self) -> int | None:
        """The revision that the caller wants to change, None where it does not say; 412 for what is no revision."""
        given = self.request.headers.get("If-Match")
        if given is None or given.strip() == "*":
            return None
        text = given.strip().removeprefix("W/").strip('"')
        return int(text) if _REVISION.match(text) else -1

    def refuse_if_match(self) -> None:
        """For what has no revision: none can be the present one."""
        if self.if_match() is not None:
            raise PreconditionFailed("this has no revision; send the request without If-Match")

    def read(self, ask: Callable[..., T], *args: Any, **options: Any) -> T:
        """A read from the rows, counted as `db` time."""
        start = clock.monotonic()
        try:
            return ask(*args, **options)
        finally:
            self.spent["db"] += clock.monotonic() - start

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
            self.spent[what] += clock.monotonic() - start

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
            heard = left > 0 and await self.unless_closed(
                self.context.hub.wait_revision(kind, id, known, left)
            )
            shown = self.read(show, id)
            if not heard:
                break
        return shown

    async def unless_closed(self, work: Awaitable[T]) -> T:
        """Waits for `work`, and no longer than the client does."""
        waiting: asyncio.Future[T] = asyncio.ensure_future(work)
        self._waiting = waiting
        try:
            return await waiting
        except asyncio.CancelledError:
            if self._client_left:
                self.given_up = True
                raise Finish from None
            raise
        finally:
            self._waiting = None

    def on_connection_close(self) -> None:
        self._client_left = True
        if self._waiting is not None:
            self._waiting.cancel()
