"""The tree of errors that reach a caller: a stable code, a sentence, an HTTP hint.

Raised in every room, rendered as problem+json by `handlers.base` only. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: a JSON pointer into it and a sentence."""

    pointer: str
    message: str


class PlatformError(Exception):
    """An error a caller can act on.

    `code` is stable UPPER_SNAKE; `status` the HTTP status it maps to; `retry_after` whole seconds or None;
    `faults` lists every problem of an invalid input; `more` is what a client may read beside, by name.
    """

    status = 500
    code = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after: int | None = None,
        faults: Sequence[Fault] = (),
        more: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.retry_after = retry_after
        self.faults = tuple(faults)
        self.more = more


class Malformed(PlatformError):
    """The request cannot be read at all."""

    status, code = 400, "MALFORMED"


class Unauthenticated(PlatformError):
    """Nobody known is calling: no token where one is needed, or one that is not valid."""

    status, code = 401, "TOKEN_REQUIRED"


class Forbidden(PlatformError):
    status, code = 403, "FORBIDDEN"


class NotFound(PlatformError):
    status, code = 404, "NOT_FOUND"


class Conflict(PlatformError):
    """The request contradicts the present state."""

    status, code = 409, "CONFLICT"


class InvalidState(Conflict):
    code = "INVALID_STATE"


class PreconditionFailed(PlatformError):
    """The object is not, or no more, as the caller thinks; `If-Match` named another revision."""

    status, code = 412, "REVISION_MISMATCH"

    @classmethod
    def of(cls, expected: int, present: int) -> PreconditionFailed:
        return cls(f"this is revision {present}, not {expected}; read it again and decide anew")


class TooLarge(PlatformError):
    status, code = 413, "TOO_LARGE"


class Invalid(PlatformError):
    """Well-formed but not valid; `faults` says what, all of it."""

    status, code = 422, "INVALID"


class Unsupported(PlatformError):
    """Named by the contract, not supported."""

    status, code = 501, "UNSUPPORTED"


class Unavailable(PlatformError):
    """Try again later."""

    status, code = 503, "UNAVAILABLE"

    def __init__(
        self, message: str, *, code: str | None = None, retry_after: int = 1, status: int | None = None
    ) -> None:
        super().__init__(message, code=code, retry_after=retry_after, status=status)


class NoSpace(PlatformError):
    """The store or the disk cannot take the write; nothing was changed."""

    status, code = 507, "INSUFFICIENT_STORAGE"
