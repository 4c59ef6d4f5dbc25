"""What is said to any actor, and how a conversation with one can fail. Pure values, any thread.

Messages of one kind of actor live with that kind; here are only those of the runtime itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import pykka

from platformd.errors import NotFound, PlatformError, Unavailable


class Key(NamedTuple):
    """Whom a message is for: a kind of actor ("deployment") and the id of its object."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


class Lane(StrEnum):
    """Facts are taken first and never refused; commands wait behind them and are bounded."""

    FACT = "fact"
    COMMAND = "command"


class TimerFired(NamedTuple):
    """A timer's instant has come. `at` is what was set; the receiver compares it with what it wants now."""

    name: str
    at: datetime


class Resumption(NamedTuple):
    """What a parked actor does first once it may go on. `parked` is the message it was parked in, if any."""

    call: Callable[[], object]
    parked: Any


class Reason(StrEnum):
    """Why a message was never handled."""

    FAILED = "failed"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that no actor handled. It may carry secrets: who keeps it masks them."""

    key: Key
    message: object
    reason: Reason
    error: str
    traceback: str
    at: datetime


class Dormant(NotFound):
    """Raised by `on_activate`: the object exists and nothing about it needs an actor."""

    code = "DORMANT"


class MailboxFull(Unavailable):
    code = "MAILBOX_FULL"


class Quarantined(Unavailable):
    """The actor failed too often and waits to be resumed by hand."""

    code = "QUARANTINED"


class ShuttingDown(Unavailable):
    code = "SHUTTING_DOWN"


class Restarted(Unavailable):
    """The actor was replaced while the answer waited for a commit; the command's fate is not known."""

    code = "ACTOR_RESTARTED"


class ActorTimeout(Unavailable, pykka.Timeout):
    code = "ACTOR_TIMEOUT"


class ActorFailed(PlatformError):
    """The actor raised while handling the message; it is replaced, the message is a dead letter."""

    status, code = 500, "ACTOR_FAILED"
