"""What makes a request safe to repeat: an answer kept under the caller's key, and a change only from the revision seen.

Pure records; the handlers make them, the store carries them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from platformd.domain.operations import Operation
from platformd.domain.requests import RequestKey

T = TypeVar("T")

REPLAYED_CONFLICT = 409


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A response as it went out."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """What is known of a key. `answer` is None when the request made its object and then ended with the server."""

    fingerprint: str
    answer: KeptAnswer | None


def is_kept(status: int) -> bool:
    """Whether a repetition gets the answer of this status again. What failed otherwise may be tried anew."""
    return 200 <= status < 300 or status == REPLAYED_CONFLICT


@dataclass(frozen=True, slots=True)
class Made(Generic[T]):
    """What a request made: `new` is False when one with the same key had made it before."""

    result: T
    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Once(Operation[Made[T]]):
    """Carry out `operation` unless that was done under `key` in the last `policy.ANSWERS_KEPT`: then what it made is
    the result. The key is stored in the same piece."""

    operation: Operation[T]
    key: RequestKey
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAnswer(Operation[None]):
    """What to answer to this key from now on."""

    key: RequestKey
    answer: KeptAnswer
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetAnswers(Operation[int]):
    """Drop at most `most` of the keys from before `before`: how many there were."""

    before: datetime
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IfRevision(Operation[T]):
    """Carry out `operation` only while the record `id` of `kind` is at `revision`; else PreconditionFailed
    REVISION_MISMATCH."""

    operation: Operation[T]
    kind: type
    id: str
    revision: int
