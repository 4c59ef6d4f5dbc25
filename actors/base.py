"""The base of every actor: Pykka's threading actor with the thread taken away.

A subclass implements `receive` and the hooks below `# For subclasses`. All of them run in a turn on a pool
thread, one at a time, and may raise anything: the turn fences them. They never block and never ask.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self, cast

import pykka
import structlog
from pykka._envelope import Envelope

from actors.futures import AskFuture, Pending
from actors.mailbox import Letter, Mailbox
from actors.messages import Key, Lane, Resumption
from platformd.errors import PlatformError

MESSAGES_A_TURN = 16
_log = structlog.get_logger("actors")


class _Making(threading.local):
    """The mailbox an actor is being made for: Pykka creates the inbox in a static hook."""

    mailbox: Mailbox | None = None


_making = _Making()


class BaseActor(pykka.ThreadingActor):
    actor_inbox: Mailbox

    def __init__(self, key: Key) -> None:
        """As Pykka's, but for the name: drawing a random one hands the interpreter to another thread."""
        self.key = key
        self.actor_urn = f"urn:platformd:{key}"
        self.actor_inbox = self._create_actor_inbox()
        self.actor_stopped = threading.Event()
        self._actor_ref = pykka.ActorRef(self)

    # For subclasses

    def on_activate(self) -> None:
        """First thing in the first turn: load the row, set timers. Raise NotFound or Dormant to decline."""

    def receive(self, message: Any) -> Any:
        """Handle one message. The result answers an ask; a `Pending` answers it later.

        A PlatformError other than a 500 is an answer, too: the asker gets it and the actor lives on.
        Anything else raised is a failure.
        """
        raise TypeError(f"{type(self).__name__} does not know {type(message).__name__}")

    def may_passivate(self) -> bool:
        """Asked when a turn leaves the mailbox empty: would nothing be lost if this actor were forgotten?"""
        return False

    def describe(self) -> dict[str, Any]:
        """A few values for the list of actors. Called on any thread: read, don't compute."""
        return {}

    # What an actor does

    def tell_self(self, message: object) -> None:
        """Queue a fact for this key."""
        self.actor_inbox.offer(Envelope(message), Lane.FACT)

    def park(self) -> None:
        """Take no further message after this one until `resume`."""
        self.actor_inbox.park(self)

    def resume(self, call: Callable[[], object]) -> bool:
        """End parking, from any thread: `call` runs as the next thing in this actor's turn.

        False, and nothing happens, when this actor is not parked or was replaced meanwhile.
        """
        return self.actor_inbox.resume(self, call)

    # Pykka's hooks

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> pykka.ActorRef[Self]:
        """As Pykka's, without its registry, which is a list. Only the directory's factories may call it."""
        actor = cls(*args, **kwargs)
        actor._start_actor_loop()
        return actor.actor_ref

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        if _making.mailbox is None:
            raise RuntimeError("actors are made by the directory: tell or ask their key")
        return _making.mailbox

    @staticmethod
    def _create_future() -> AskFuture:
        return AskFuture()

    def _start_actor_loop(self) -> None:
        self.actor_inbox.wake()

    def on_start(self) -> None:
        self.on_activate()

    def on_receive(self, message: Any) -> Any:
        if type(message) is Resumption:
            message.call()
            return None
        return self.receive(message)

    def _stop(self) -> None:
        self.actor_inbox.dismiss()
        self._actor_loop_teardown()
        self.on_stop()

    def _actor_loop_setup(self) -> None:
        self.on_start()

    def _actor_loop_running(self) -> None:
        """One turn: at most 16 messages, fewer when parked, replaced or out of messages."""
        inbox = self.actor_inbox
        for _ in range(MESSAGES_A_TURN):
            letter = inbox.take()
            if letter is None:
                return
            self._handle(letter)
            inbox.current = None
            if inbox.actor is not self:
                return

    def _actor_loop_teardown(self) -> None:
        """What is queued belongs to the key and stays; only references to this actor go dead."""
        self.actor_stopped.set()

    def _handle(self, letter: Letter) -> None:
        asker = cast("AskFuture | None", letter.reply_to)
        if asker is not None and not asker.claim():
            return
        try:
            response = self._handle_receive(letter.message)
        except PlatformError as answer:
            if answer.status == 500:
                raise
            self._refuse(letter, answer)
            return
        if asker is None:
            return
        if isinstance(response, Pending):
            response.add_done_callback(lambda settled: settled.copy_to(asker))
        else:
            asker.resolve(response)

    def _refuse(self, letter: Letter, answer: PlatformError) -> None:
        asker = asker_of(letter)
        if asker is not None:
            asker.reject(answer)
            return
        _log.warning(
            "actor refused a message", actor=str(self.key), message=name_of(letter.message), code=answer.code,
            detail=answer.message,
        )  # fmt: skip


def make(factory: Callable[[Key], BaseActor], mailbox: Mailbox) -> BaseActor:
    """An actor whose inbox is `mailbox`."""
    _making.mailbox = mailbox
    try:
        actor = factory(mailbox.key)
    finally:
        _making.mailbox = None
    if actor.actor_inbox is not mailbox:
        raise TypeError(f"the factory of {mailbox.key.kind!r} must make a new actor at each call")
    return actor


def asker_of(letter: Letter | None) -> AskFuture | None:
    """Who waits for the answer to `letter`, or to the message that parked the actor."""
    if letter is None:
        return None
    if isinstance(letter.message, Resumption):
        return asker_of(letter.message.parked)
    return cast("AskFuture | None", letter.reply_to)


def name_of(message: object) -> str:
    """What logs call a message: its type, never its content."""
    if isinstance(message, Resumption) and message.parked is not None:
        return f"resumption of {name_of(message.parked.message)}"
    return type(message).__name__
