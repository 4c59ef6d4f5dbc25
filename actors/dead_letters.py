"""Messages that no actor handled, kept for people: the newest so many, in memory, without the secrets they carried.

Called by the supervisor on any thread; read by handlers. Kept are text and plain values, never the message itself.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum

import structlog

from actors.messages import DeadLetter, Key, Reason

KEPT = 500
LONGEST_TEXT = 500
LONGEST_TRACEBACK = 8000
LONGEST_LIST = 20
DEEPEST = 8
MASK = "***"
# Shorter values ("1", "on") would turn a text into stars without hiding anything.
SHORTEST_SECRET = 4
_SECRET_FIELDS = frozenset({"env", "variables", "resolved_env", "secrets", "token", "password"})
_log = structlog.get_logger("actors")


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """One dead letter as people may see it: `message` is its type, `content` its fields as JSON-able values."""

    number: int
    key: Key
    message: str
    content: object
    reason: Reason
    error: str
    traceback: str
    at: datetime


class DeadLetters:
    """The last `kept` letters."""

    def __init__(self, kept: int = KEPT) -> None:
        self._letters: deque[KeptLetter] = deque(maxlen=kept)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def __call__(self, letter: DeadLetter) -> None:
        secrets = sorted(set(_secrets(letter.message)), key=len, reverse=True)
        with self._lock:
            kept = KeptLetter(
                number=next(self._numbers),
                key=letter.key,
                message=type(letter.message).__name__,
                content=_shown(letter.message, secrets),
                reason=letter.reason,
                error=_shortened(_masked(letter.error, secrets)),
                traceback=_masked(letter.traceback, secrets)[-LONGEST_TRACEBACK:],
                at=letter.at,
            )
            self._letters.append(kept)
        _log.warning(
            "dead letter", number=kept.number, actor=str(kept.key), message=kept.message, reason=kept.reason.value
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._letters)

    def page(self, offset: int = 0, limit: int = 100) -> list[KeptLetter]:
        """Newest first."""
        with self._lock:
            newest_first = reversed(self._letters)
            return list(itertools.islice(newest_first, offset, offset + limit))


def _secrets(value: object, depth: int = 0) -> Iterator[str]:
    """Every value of an environment that is anywhere in `value`."""
    if depth > DEEPEST:
        return
    for name, inner in _parts(value):
        if name in _SECRET_FIELDS:
            yield from _texts(inner)
        else:
            yield from _secrets(inner, depth + 1)


def _texts(value: object) -> Iterator[str]:
    """The texts in a secret field; names of variables are none."""
    if isinstance(value, str):
        if len(value) >= SHORTEST_SECRET:
            yield value
        return
    for _, inner in _parts(value):
        yield from _texts(inner)


def _parts(value: object) -> Iterator[tuple[str | None, object]]:
    """What `value` is made of, with the names of fields and keys."""
    if is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name, None)) for field in fields(value))
    elif isinstance(value, Mapping):
        yield from ((str(key), inner) for key, inner in value.items())
    elif isinstance(value, tuple | list | Set):
        yield from ((None, inner) for inner in value)


def _shown(value: object, secrets: list[str], depth: int = 0) -> object:
    """`value` as JSON can say it, shortened, without `secrets`."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return _shown(value.value, secrets, depth)
    if depth > DEEPEST:
        return "…"
    if isinstance(value, Mapping) or (is_dataclass(value) and not isinstance(value, type)):
        return {
            _shortened(_masked(str(name), secrets)): _hidden(inner)
            if name in _SECRET_FIELDS
            else _shown(inner, secrets, depth + 1)
            for name, inner in itertools.islice(_parts(value), LONGEST_LIST)
        }
    if isinstance(value, tuple | list | Set):
        return [_shown(inner, secrets, depth + 1) for inner in itertools.islice(value, LONGEST_LIST)]
    return _shortened(_masked(_said(value), secrets))


def _hidden(value: object) -> object:
    """Which secrets there were, not what they said."""
    return {str(name): MASK for name in value} if isinstance(value, Mapping) else MASK


def _said(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return repr(value)
    except Exception:
        return type(value).__name__


def _masked(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"
