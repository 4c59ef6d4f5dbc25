"""`Idempotency-Key`: a POST that is sent again is answered as it was the first time, and acts once.

The fourth layer of `handlers.base.Handler`. The first request with a key does the work; others with it wait for that
one, then get its answer from the store. An answer is stored before it is sent; what a request makes is stored together
with its key, so that a request which ended with the server is known, too. Loop thread only.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable
from typing import Any

import msgspec
from tornado.httputil import HTTPServerRequest

from handlers.callers import Caller
from handlers.context import Builds, Configuration, Writes
from handlers.reading import Reading
from handlers.specs import invalid
from platformd import clock
from platformd.domain.requests import RequestKey
from platformd.domain.retries import KeepAnswer, KeptAnswer, KeptRequest, is_kept
from platformd.errors import Fault, PlatformError
from platformd.observability import get_logger

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEPT_HEADERS = ("Content-Type", "Location")
_KEY = re.compile(r"[\x20-\x7e]{1,255}\Z")
_log = get_logger("handlers")


class InFlight:
    """The keys of requests that are being answered now. One for a server."""

    def __init__(self) -> None:
        self._ends: dict[str, asyncio.Future[None]] = {}

    def end_of(self, key_id: str) -> asyncio.Future[None] | None:
        """Done when the request that has the key is; None when none has."""
        return self._ends.get(key_id)

    def begin(self, key_id: str) -> None:
        assert key_id not in self._ends, "a key belongs to one request at a time"
        self._ends[key_id] = asyncio.get_running_loop().create_future()

    def end(self, key_id: str) -> None:
        """Harmless for a key that is not in flight."""
        end = self._ends.pop(key_id, None)
        if end is not None:
            end.set_result(None)


class Retrying(Reading):
    """`request_key` is set when this request is the one that acts under its key, `acted_before` when an earlier one did
    and ended with the server before it was answered."""

    in_flight: InFlight
    request_key: RequestKey | None = None
    acted_before = False
    _key_taken: str | None = None
    _kept_body: bytes | None = None
    _ending: asyncio.Future[None] | None = None

    def initialize(self, in_flight: InFlight, **shared: Any) -> None:  # type: ignore[override]  # by name
        super().initialize(**shared)
        self.in_flight = in_flight

    def prepare(self) -> Awaitable[None] | None:
        super().prepare()
        return self.begin_key()

    def begin_key(self) -> Awaitable[None] | None:
        """What comes before the work of a request that has a key."""
        key_id = self.key_id()
        if key_id is None:
            return None
        return self._first_or_repeated(RequestKey(key_id, digest(self.request.query, self.payload)))

    @property
    def writes(self) -> Writes:
        """The creations, each of which happens once under the request's key."""
        return self.context.writes.under(self.request_key)

    @property
    def configuration(self) -> Configuration:
        """As `writes`, of what belongs to an app beside its deployments."""
        return self.context.configuration.under(self.request_key)

    @property
    def builds(self) -> Builds:
        """As `writes`, of builds."""
        return self.context.builds.under(self.request_key)

    def answer_once(
        self, value: object, repeated: object, status: int, *, location: str | None = None
    ) -> None:
        """As `answer`; a repetition gets `repeated`, which lacks what is shown only once."""
        self._kept_body = msgspec.json.encode(repeated)
        self.answer(value, status, location=location)

    def key_id(self) -> str | None:
        """What is kept for the request's key, if it has one; 422 when that is no key."""
        given = self.request.headers.get(HEADER)
        if given is None or self.request.method != "POST":
            return None
        if not _KEY.match(given):
            fault = Fault(f"/{HEADER}", f"must be 1 to 255 printable ASCII characters, not {given[:80]!r}")
            raise invalid([fault])
        return key_id(self.caller, self.request, given)

    async def _first_or_repeated(self, key: RequestKey) -> None:
        self.act_or_repeat(key, await self.take_key(key.id))

    async def take_key(self, key_id: str) -> KeptRequest | None:
        """Waits until nobody acts under the key. What is known of it then; when there is no answer to repeat, this
        request has it now."""
        while (end := self.in_flight.end_of(key_id)) is not None:
            await self.unless_closed(asyncio.shield(end))
        known = self.read(self.context.answered, key_id)
        if known is None or known.answer is None:
            self.in_flight.begin(key_id)
            self._key_taken = key_id
        return known

    def leave_key(self) -> None:
        if self._key_taken is not None:
            self.in_flight.end(self._key_taken)
            self._key_taken = None

    def act_or_repeat(self, key: RequestKey, known: KeptRequest | None) -> bool:
        """True when this request is to act; otherwise it has been answered. 422 when the key had another body."""
        if known is not None and known.fingerprint != key.fingerprint:
            raise PlatformError(
                f"this {HEADER} came with another body or query before; send a new key for a new request",
                code="IDEMPOTENCY_KEY_REUSED",
                status=422,
            )
        if known is not None and known.answer is not None:
            self._repeat(known.answer)
            return False
        self.request_key, self.acted_before = key, known is not None
        return True

    def _repeat(self, answer: KeptAnswer) -> None:
        """The same status, body and place as the first time, and a header that says so."""
        self.set_status(answer.status)
        self.set_header(REPLAYED, "true")
        for name, value in answer.headers.items():
            self.set_header(name, value)
        self.finish(answer.body or None)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        """With a key, only once the answer is stored."""
        if self.request_key is None or self.given_up or not is_kept(self.get_status()):
            return super().finish(chunk)
        if self._ending is None:
            assert chunk is None or isinstance(chunk, bytes), "what is kept are bytes"
            self._ending = asyncio.ensure_future(self._finish_kept(self.request_key, chunk))
        return self._ending

    async def _finish_kept(self, key: RequestKey, chunk: bytes | None) -> None:
        headers = {name: self._headers[name] for name in KEPT_HEADERS if name in self._headers}
        body = chunk or b"" if self._kept_body is None else self._kept_body
        answer = KeptAnswer(self.get_status(), headers, body)
        try:
            await self.durable(
                self.context.configuration.commit(KeepAnswer(key=key, answer=answer, at=clock.now()))
            )
        except PlatformError as error:  # what was done is done, and is answered
            _log.warning("answer not kept", path=self.request.path, detail=error.message)
        super().finish(chunk)

    def on_finish(self) -> None:
        self.leave_key()


def key_id(caller: Caller, request: HTTPServerRequest, given: str) -> str:
    """A key means something only to the token that sent it, for one method of one path."""
    return digest(caller.token_id or "", f"{request.method} {request.path}", given)


def digest(*parts: str | bytes) -> str:
    """Of all parts and where each ends."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        whole.update(b"%d:" % len(data) + data)
    return whole.hexdigest()
