"""Key → mailbox: the way to every actor, and the only index of them. Any thread; nothing here blocks.

The first message for a key makes its mailbox, under the lock; the actor is made in its first turn. So activation
happens once and no sender waits for it. A message refused because the mailbox just closed gets the next one.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from pykka._envelope import Envelope

from actors.base import BaseActor, asker_of
from actors.futures import AskFuture
from actors.mailbox import Kind, Letter, Mailbox, Offer, State, full, quarantined
from actors.messages import Key, Lane, Reason, ShuttingDown
from actors.runtime import Runtime
from actors.supervisor import Failure, Supervisor
from actors.turn import Turns
from platformd import clock
from platformd.errors import NotFound, Unavailable

CAPACITY = 64
_POLL = 0.005
_log = structlog.get_logger("actors")


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """One row of the list of actors. `parked_since` is set while it waits for a commit."""

    key: Key
    state: State
    facts: int
    commands: int
    restarts: int
    last_failure: Failure | None
    parked_since: datetime | None
    about: dict[str, Any]


@dataclass(slots=True)
class Backlog:
    """Live actors of one kind, how many of them are in quarantine, and what is queued for all of them."""

    actors: int = 0
    quarantined: int = 0
    facts: int = 0
    commands: int = 0


class Directory:
    def __init__(self, runtime: Runtime, supervisor: Supervisor) -> None:
        self._runtime = runtime
        self._supervisor = supervisor
        self._kinds: dict[str, Kind] = {}
        self._mailboxes: dict[Key, Mailbox] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._refusal: Unavailable | None = None
        runtime.attach(Turns(runtime, supervisor, self._forget).run)

    def register(self, kind: str, factory: Callable[[Key], BaseActor], capacity: int = CAPACITY) -> None:
        """`factory` makes the actor of a key, in its first turn; `capacity` commands may wait for it."""
        self._kinds[kind] = Kind(factory, capacity, self._runtime.schedule)

    # Messages

    def tell(self, key: Key, message: object, lane: Lane = Lane.FACT) -> None:
        """Queue `message`. A fact is refused by nothing but shutdown; in quarantine it becomes a dead letter.

        Raises MailboxFull, Quarantined (commands only), ShuttingDown, ValueError (no such kind).
        """
        if lane is Lane.COMMAND and self._refusal is not None:
            raise copy.copy(self._refusal)
        self._deliver(key, Envelope(message), lane)

    def ask(self, key: Key, message: object) -> AskFuture:
        """Queue a command; the future gets its answer. Raises as `tell` does.

        Settle for an answer within a time: `get(timeout=…)`, or `bridge.ask_async`. Not for actors.
        """
        if self._runtime.in_turn():
            raise RuntimeError(f"{key} was asked within a turn: actors tell, they never ask")
        if self._refusal is not None:
            raise copy.copy(self._refusal)
        reply = AskFuture()
        self._deliver(key, Envelope(message, reply), Lane.COMMAND)
        return reply

    def activate(self, key: Key) -> None:
        """Make the actor of `key` (recovery, resume): its `on_activate` runs, nothing is said to it."""
        self._open(key).wake()

    def _deliver(self, key: Key, letter: Letter, lane: Lane) -> None:
        outcome = Offer.CLOSED
        while outcome is Offer.CLOSED:  # it went to rest just now: the next one is made at once
            mailbox = self._mailboxes.get(key)
            if mailbox is None or mailbox.state is State.CLOSED:
                mailbox = self._open(key)
            outcome = mailbox.offer(letter, lane)
        if outcome is Offer.ACCEPTED:
            return
        if outcome is Offer.FULL:
            raise full(key, self._kinds[key.kind].capacity)
        if lane is Lane.COMMAND:
            raise quarantined(key)
        self._supervisor.bury(key, letter.message, Reason.QUARANTINED)

    def _open(self, key: Key) -> Mailbox:
        """The mailbox of `key`, made when there is none or only one that has closed."""
        with self._lock:
            mailbox = self._mailboxes.get(key)
            if mailbox is not None and mailbox.state is not State.CLOSED:
                return mailbox
            if self._closed:
                raise ShuttingDown(f"{key} cannot be reached: the service is stopping")
            kind = self._kinds.get(key.kind)
            if kind is None:
                raise ValueError(f"no actors of kind {key.kind!r}; there are {sorted(self._kinds)}")
            self._mailboxes[key] = mailbox = Mailbox(key, kind)
            return mailbox

    def _forget(self, mailbox: Mailbox) -> None:
        with self._lock:
            if self._mailboxes.get(mailbox.key) is mailbox:
                del self._mailboxes[mailbox.key]

    # Supervision

    def restart(self, key: Key) -> None:
        """Replace the actor between two messages, parked or not, or end its quarantine; all queued stays."""
        mailbox = self._mailboxes.get(key)
        if mailbox is not None and (mailbox.request_restart() or self.resume(key)):
            return
        raise NotFound(f"{key} has no actor at present", code="ACTOR_NOT_FOUND")

    def resume(self, key: Key) -> bool:
        """End the quarantine of `key` and activate it. False when it is in none."""
        mailbox = self._mailboxes.get(key)
        if mailbox is None or mailbox.state is not State.QUARANTINED:
            return False
        self._supervisor.pardon(key)
        return mailbox.reopen()

    def count(self, kind: str | None = None) -> int:
        if kind is None:
            return len(self._mailboxes)
        return len(self.keys(kind))

    def keys(self, kind: str) -> list[Key]:
        """The live actors of a kind, without a look at any."""
        return [key for key in list(self._mailboxes) if key.kind == kind]

    def backlog(self) -> dict[str, Backlog]:
        """By kind, what there is of live actors and of what waits for them."""
        found = {kind: Backlog() for kind in self._kinds}
        for mailbox in list(self._mailboxes.values()):
            facts, commands = mailbox.mark()
            of_kind = found[mailbox.key.kind]
            of_kind.actors += 1
            of_kind.facts += facts
            of_kind.commands += commands
            of_kind.quarantined += mailbox.state is State.QUARANTINED
        return found

    def find(self, key: Key) -> ActorInfo | None:
        """What is known of the live actor of `key`."""
        mailbox = self._mailboxes.get(key)
        return None if mailbox is None else self._info(mailbox)

    def page(self, kind: str | None = None, offset: int = 0, limit: int = 100) -> list[ActorInfo]:
        """A page of the live actors, longest alive first."""
        chosen = (box for box in list(self._mailboxes.values()) if kind is None or box.key.kind == kind)
        return [self._info(box) for box in itertools.islice(chosen, offset, offset + limit)]

    def _info(self, mailbox: Mailbox) -> ActorInfo:
        record = self._supervisor.record(mailbox.key)
        parking, (facts, commands) = mailbox.parking, mailbox.mark()
        since = parking.since if parking else None
        return ActorInfo(
            mailbox.key,
            mailbox.state,
            facts,
            commands,
            record.restarts,
            record.last,
            since,
            _describe(mailbox),
        )

    # The end

    def refuse_commands(self, refusal: Unavailable) -> None:
        """From now on answer every new command with `refusal`; facts still pass."""
        self._refusal = refusal

    def accept_commands(self) -> None:
        self._refusal = None

    def settle(self, timeout: float) -> bool:
        """Block until nothing is queued, running or parked. False when `timeout` seconds came first."""
        until = clock.monotonic() + timeout
        tick = threading.Event()
        while not self._settled():
            if clock.monotonic() >= until:
                return False
            tick.wait(_POLL)
        return True

    def drop(self) -> None:
        """Refuse everything and let go of all actors at once, unasked. Who waits for an answer is told."""
        with self._lock:
            self._closed = True
            dropped, self._mailboxes = self._mailboxes, {}
        for mailbox in dropped.values():
            for letter in mailbox.close(State.CLOSED):
                asker = asker_of(letter)
                if asker is not None:
                    asker.reject(ShuttingDown(f"{mailbox.key} was not reached: the service is stopping"))
            mailbox.drop_actor()

    def _settled(self) -> bool:
        if not self._runtime.quiet():
            return False
        resting = (State.IDLE, State.QUARANTINED)
        return all(box.state in resting for box in list(self._mailboxes.values())) and self._runtime.quiet()


def _describe(mailbox: Mailbox) -> dict[str, Any]:
    actor = mailbox.actor
    if actor is None:
        return {}
    try:
        return actor.describe()
    except BaseException as error:
        return {"error": f"describe failed: {type(error).__name__}"}
