"""The queue of one key: two lanes, one actor at a time, and the state that decides who may run it.

Owned by the key, not by the actor: replacing the actor loses nothing queued. Any thread offers; only the
thread in the turn takes. `_lock` guards every change of state and is never held in a hook or callback.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from pykka import ActorDeadError
from pykka._envelope import Envelope

from actors.messages import Key, Lane, MailboxFull, Quarantined, Resumption
from platformd import clock

if TYPE_CHECKING:
    from actors.base import BaseActor

Letter = Envelope[Any]


class State(StrEnum):
    """READY waits for a thread; PARKED for a commit; WAITING for the next try to activate."""

    IDLE = "idle"
    READY = "ready"
    RUNNING = "running"
    PARKED = "parked"
    WAITING = "waiting"
    QUARANTINED = "quarantined"
    CLOSED = "closed"


class Offer(StrEnum):
    """What became of an offered message."""

    ACCEPTED = "accepted"
    FULL = "full"
    CLOSED = "closed"
    QUARANTINED = "quarantined"


class After(StrEnum):
    """What a turn wants for its mailbox once it is over; what was queued meanwhile may overrule it."""

    REST = "rest"
    AGAIN = "again"
    WAIT = "wait"
    CLOSE = "close"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Kind:
    """What all mailboxes of one kind share: who makes the actor, commands that may wait, who gives turns."""

    factory: Callable[[Key], BaseActor]
    capacity: int
    schedule: Callable[[Mailbox], None]


class Parking(NamedTuple):
    since: datetime
    letter: Letter | None


_REFUSED = {State.CLOSED: Offer.CLOSED, State.QUARANTINED: Offer.QUARANTINED}
_RESTING = frozenset({State.IDLE, State.PARKED, State.WAITING})


class Mailbox:
    __slots__ = (
        "_commands",
        "_facts",
        "_lock",
        "_restart",
        "_resumption",
        "actor",
        "current",
        "key",
        "kind",
        "parking",
        "state",
    )

    def __init__(self, key: Key, kind: Kind) -> None:
        self.key = key
        self.kind = kind
        self.state = State.IDLE
        self.actor: BaseActor | None = None
        self.current: Letter | None = None
        self.parking: Parking | None = None
        self._lock = threading.Lock()
        # Lanes exist only while something is in them: an empty deque weighs 0.6 kB.
        self._facts: deque[Letter] | None = None
        self._commands: deque[Letter] | None = None
        self._resumption: Resumption | None = None
        self._restart = False

    # Senders, any thread

    def offer(self, letter: Letter, lane: Lane) -> Offer:
        with self._lock:
            state = self.state
            if state in _REFUSED:
                return _REFUSED[state]
            if lane is Lane.FACT:
                if self._facts is None:
                    self._facts = deque()
                self._facts.append(letter)
            else:
                if self._commands is None:
                    self._commands = deque()
                if len(self._commands) >= self.kind.capacity:
                    return Offer.FULL
                self._commands.append(letter)
            if state is not State.IDLE:
                return Offer.ACCEPTED
            self.state = State.READY
        self.kind.schedule(self)
        return Offer.ACCEPTED

    def put(self, letter: Letter, /) -> None:
        """Pykka's way in, for messages sent through an ActorRef: the command lane."""
        match self.offer(letter, Lane.COMMAND):
            case Offer.CLOSED:
                raise ActorDeadError(f"{self.key} has gone to rest; reach it by its key")
            case Offer.FULL:
                raise full(self.key, self.kind.capacity)
            case Offer.QUARANTINED:
                raise quarantined(self.key)

    def waiting_fact(self) -> object | None:
        """The fact that is going to be taken next, if there is one."""
        with self._lock:
            return self._facts[0].message if self._facts else None

    def wake(self) -> None:
        """Give a resting mailbox a turn even though nothing new was put in."""
        with self._lock:
            if self.state not in (State.IDLE, State.WAITING):
                return
            self.state = State.READY
        self.kind.schedule(self)

    def resume(self, actor: BaseActor, call: Callable[[], object]) -> bool:
        """End the parking of `actor`; `call` comes before anything queued. False when it is not parked."""
        with self._lock:
            if self.actor is not actor or self.parking is None:
                return False
            self._resumption = Resumption(call, self.parking.letter)
            self.parking = None
            if self.state is not State.PARKED:
                return True
            self.state = State.READY
        self.kind.schedule(self)
        return True

    def request_restart(self) -> bool:
        """Replace the actor between two messages, parked or not. False when closed or in quarantine."""
        with self._lock:
            if self.state in _REFUSED:
                return False
            self._restart = True
            if self.state not in _RESTING:
                return True
            self.state = State.READY
        self.kind.schedule(self)
        return True

    # The turn

    def begin(self) -> bool:
        with self._lock:
            if self.state is not State.READY:
                return False
            self.state = State.RUNNING
            return True

    def take(self) -> Letter | None:
        """The next message: what a parked actor resumes with, facts, commands. None ends the turn."""
        with self._lock:
            if self.parking is not None or self._restart:
                return None
            if self._resumption is not None:
                letter = Envelope(self._resumption)
                self._resumption = None
            elif self._facts:
                letter = self._facts.popleft()
            elif self._commands:
                letter = self._commands.popleft()
            else:
                return None
        self.current = letter
        return letter

    def park(self, actor: BaseActor) -> None:
        with self._lock:
            if self.state is State.CLOSED:  # dropped meanwhile: there will be no next message
                return
            if self.actor is not actor or self.state is not State.RUNNING:
                raise RuntimeError(f"{self.key}: park() is for the actor itself, within its turn")
            self.parking = Parking(clock.now(), self.current)

    def take_restart(self) -> bool:
        """True once after a restart was requested; the old actor is gone when this returns."""
        with self._lock:
            asked, self._restart = self._restart, False
        return asked

    def dismiss(self) -> tuple[BaseActor | None, Letter | None]:
        """Part with the actor, keep the lanes. Returns it and the message its parking holds back, if any."""
        with self._lock:
            actor, self.actor, self.current = self.actor, None, None
            held = (
                self.parking.letter if self.parking else self._resumption.parked if self._resumption else None
            )
            self.parking = self._resumption = None
        return actor, held

    def mark(self) -> tuple[int, int]:
        """How many facts and commands are queued now."""
        return len(self._facts or ()), len(self._commands or ())

    def take_marked(self, marks: tuple[int, int]) -> list[Letter]:
        """Take out the oldest messages, as many as there were at `mark`."""
        facts, commands = marks
        with self._lock:
            taken = [self._facts.popleft() for _ in range(facts)] if self._facts else []
            if self._commands:
                taken += [self._commands.popleft() for _ in range(commands)]
        return taken

    def end(self, after: After) -> bool:
        """End the turn; True when another one is due. WAIT keeps what is queued until `wake`."""
        with self._lock:
            if self.state is not State.RUNNING:
                return False
            if self._restart:
                self.state = State.READY
            elif self.parking is not None:
                self.state = State.PARKED
            elif after is After.WAIT:
                self.state = State.WAITING
            elif after is After.AGAIN or not self.empty():
                self.state = State.READY
            else:
                self._facts = self._commands = None
                self.state = State.CLOSED if after is After.CLOSE else State.IDLE
            return self.state is State.READY

    # The end

    def close(self, state: State) -> list[Letter]:
        """Refuse everything from now on (`state` CLOSED or QUARANTINED). Returns what was queued."""
        with self._lock:
            if self.state is not State.CLOSED:
                self.state = state
            self._restart = False
            queued = [*(self._facts or ()), *(self._commands or ())]
            self._facts = self._commands = None
        return queued

    def drop_actor(self) -> None:
        """Let the actor go without a word. One in a turn ends that message first; its references go dead."""
        actor, self.actor = self.actor, None
        if actor is not None:
            actor.actor_stopped.set()

    def reopen(self) -> bool:
        """End a quarantine. False when there was none."""
        with self._lock:
            if self.state is not State.QUARANTINED:
                return False
            self.state = State.READY
        self.kind.schedule(self)
        return True

    # Pykka's inbox, the part a pool has no use for

    def get(self) -> Letter:
        letter = self.take()
        if letter is None:
            raise queue.Empty
        return letter

    def empty(self) -> bool:
        return not (self._facts or self._commands or self._resumption)


def full(key: Key, capacity: int) -> MailboxFull:
    return MailboxFull(f"{key} has {capacity} commands waiting; try again in a second")


def quarantined(key: Key) -> Quarantined:
    return Quarantined(f"{key} failed too often and takes no commands until it is resumed", retry_after=30)
