"""What a method of a resource takes, answers and refuses, said once beside the method.

Authorisation, validation and the OpenAPI document all read it from here. Written by the modules of handlers when they
are imported, read by any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from handlers.schemas import NoQuery
from platformd.domain.token import Scope

__all__ = [
    "BYTES",
    "EVERYWHERE",
    "OF_BODIES",
    "OF_WRITES",
    "Content",
    "Operation",
    "Scope",
    "operation",
    "operation_of",
    "stream_of",
]

Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Content:
    """A body or an answer that is no JSON document: its media types and, for a stream, what one item of it is."""

    types: tuple[str, ...]
    item: Any = None


EVENT_STREAM = "text/event-stream"
BYTES = Content(("application/octet-stream",))
ARCHIVE = Content(
    (
        "application/x-tar",
        "application/gzip",
        "application/x-gzip",
        "application/x-bzip2",
        "application/x-xz",
        *BYTES.types,
    )
)
FILE = Content(("*/*",))  # bytes of the type that was given with them


def stream_of(item: Any) -> Content:
    """Server-sent events or lines of JSON, as `Accept` asks."""
    return Content((EVENT_STREAM, "application/x-ndjson"), item)


# What any method may be refused with, beside its own: (problem, whom it concerns).
EVERYWHERE = ("400 MALFORMED", "421 MISDIRECTED_HOST", "422 INVALID", "431 HEADER_TOO_LARGE", "500 INTERNAL")
CHANGES = ("PUT", "PATCH", "DELETE")
OF_CALLERS = ("401 TOKEN_REQUIRED", "401 TOKEN_INVALID", "403 SCOPE_TOO_NARROW", "403 TOKEN_BOUND_TO_APP")
OF_BODIES = ("400 MALFORMED_JSON", "413 TOO_LARGE", "415 UNSUPPORTED_MEDIA_TYPE")
OF_WRITES = (
    *("403 FOREIGN_ORIGIN", "503 RECOVERING", "503 SHUTTING_DOWN", "503 QUARANTINED", "503 MAILBOX_FULL"),
    *("503 ACTOR_TIMEOUT", "503 ACTOR_RESTARTED", "500 ACTOR_FAILED", "507 INSUFFICIENT_STORAGE"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    `scope` is what a token needs where tokens are required, None for what is always public; `locked` ones need a token
    everywhere. `body` is a Struct, `Content`, or None when nothing is taken; `optional_body` may be left out; `instead`
    are bytes that may be sent for a Struct. `answers`
    leads from a status to the type of its JSON, to `Content`, or to None when it has no body. `problems` are what it
    refuses beyond what every method does, as "404 APP_NOT_FOUND".
    """

    summary: str
    scope: Scope | None
    locked: bool = False
    query: type[msgspec.Struct] = NoQuery
    body: Any = None
    optional_body: bool = False
    instead: Content | None = None
    answers: Mapping[int, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def streams(self) -> bool:
        """Whether it may answer with server-sent events."""
        return any(
            isinstance(answer, Content) and EVENT_STREAM in answer.types for answer in self.answers.values()
        )


def operation(
    summary: str,
    scope: Scope | None,
    *,
    locked: bool = False,
    query: type[msgspec.Struct] = NoQuery,
    body: Any = None,
    optional_body: bool = False,
    instead: Content | None = None,
    answers: Mapping[int, Any],
    problems: tuple[str, ...] = (),
) -> Callable[[Method], Method]:
    """Declares a handler's method; see `Operation`. The docstring of the method is the description."""
    declared = Operation(
        summary=summary,
        scope=scope,
        locked=locked,
        query=query,
        body=body,
        optional_body=optional_body,
        instead=instead,
        answers=answers,
        problems=problems,
    )

    def declare(method: Method) -> Method:
        method.operation = declared  # type: ignore[attr-defined]
        return method

    return declare


def operation_of(kind: type, method: str) -> Operation | None:
    """What `kind` declares for an HTTP method; HEAD is GET without the body, None for what it does not take."""
    name = "get" if method == "HEAD" else method.lower()
    found: Operation | None = getattr(getattr(kind, name, None), "operation", None)
    return found


def everything_refused(declared: Operation, method: str) -> set[str]:
    """Every problem a method may answer with, its own and those of all."""
    refused = {*declared.problems, *EVERYWHERE}
    if declared.scope is not None:
        refused |= {*OF_CALLERS}
    if declared.streams:
        refused |= {"401 TICKET_INVALID"}
    if declared.body is not None:
        refused |= {*OF_BODIES}
    if method not in ("GET", "HEAD"):
        refused |= {*OF_WRITES}
    if method in CHANGES:
        refused |= {"412 REVISION_MISMATCH"}
    if method == "POST":
        refused |= {"422 IDEMPOTENCY_KEY_REUSED"}
    return refused
