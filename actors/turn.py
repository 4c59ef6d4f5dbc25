"""One turn of one mailbox: activate, handle, fence, replace, passivate.

Called by the runtime on one of its threads, one turn of a mailbox at a time; `run` never raises.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from actors.base import BaseActor, asker_of, make, name_of
from actors.mailbox import After, Letter, Mailbox, State, quarantined
from actors.messages import ActorFailed, Key, Reason, Restarted, Resumption
from actors.supervisor import Supervisor, Verdict
from platformd.errors import NotFound

if TYPE_CHECKING:
    from actors.runtime import Runtime

_log = structlog.get_logger("actors")


class Turns:
    def __init__(self, runtime: Runtime, supervisor: Supervisor, forget: Callable[[Mailbox], None]) -> None:
        self._runtime = runtime
        self._supervisor = supervisor
        self._forget = forget

    def run(self, mailbox: Mailbox) -> None:
        if not mailbox.begin():
            return
        try:
            after = self._turn(mailbox)
        except BaseException as error:
            after = self._fail(mailbox, error)
        if after is After.QUARANTINE:
            self._quarantine(mailbox)
        elif mailbox.end(after):
            self._runtime.schedule(mailbox)
        elif mailbox.state is State.WAITING:
            self._runtime.later(mailbox, self._supervisor.delay(mailbox.key))
        elif mailbox.state is State.CLOSED:
            _let_go(mailbox)
            self._forget(mailbox)

    def _turn(self, mailbox: Mailbox) -> After:
        if mailbox.take_restart():
            self._replace(mailbox)
        actor = mailbox.actor or self._activate(mailbox)
        if actor is None:
            return After.CLOSE
        actor._actor_loop_running()
        if mailbox.actor is None:
            return After.CLOSE
        return After.CLOSE if mailbox.empty() and actor.may_passivate() else After.REST

    def _activate(self, mailbox: Mailbox) -> BaseActor | None:
        """The actor, ready to receive; None when there is none to be: all who asked before have been told."""
        # A message that comes while the row is read may come from its creation: it gets a reading of its own.
        marks = mailbox.mark()
        try:
            mailbox.actor = actor = make(mailbox.kind.factory, mailbox)
            actor._actor_loop_setup()
        except NotFound as absent:
            _let_go(mailbox)
            for letter in mailbox.take_marked(marks):
                _decline(mailbox.key, letter, absent)
            return None
        return actor

    def _replace(self, mailbox: Mailbox) -> None:
        """Part with an actor because somebody asked for a restart."""
        actor = mailbox.actor
        asker = asker_of(_let_go(mailbox))
        if asker is not None:
            asker.reject(
                Restarted(f"{mailbox.key} was restarted before it answered; look at what became of it")
            )
        self._supervisor.count_restart(mailbox.key)
        if actor is not None:
            actor.on_stop()

    def _fail(self, mailbox: Mailbox, error: BaseException) -> After:
        """The poison leaves, the actor goes. Without a poison the next activation waits a little."""
        poison, actor = mailbox.current, mailbox.actor
        _let_go(mailbox)
        verdict = self._supervisor.on_failure(mailbox.key, _content(poison), error)
        asker = asker_of(poison)
        if asker is not None:
            asker.reject(_failed(mailbox.key, poison))
        _last_word(actor, error)
        if verdict is Verdict.QUARANTINE:
            return After.QUARANTINE
        return After.WAIT if poison is None else After.AGAIN

    def _quarantine(self, mailbox: Mailbox) -> None:
        """End the turn by refusing everything. From here on another thread may end the quarantine again."""
        for letter in mailbox.close(State.QUARANTINED):
            asker = asker_of(letter)
            if asker is None:
                self._supervisor.bury(mailbox.key, letter.message, Reason.QUARANTINED)
            else:
                asker.reject(quarantined(mailbox.key))
        self._supervisor.announce_quarantine(mailbox.key)


def _let_go(mailbox: Mailbox) -> Letter | None:
    """Part with the actor. Returns the message whose answer its parking held back."""
    actor, held = mailbox.dismiss()
    if actor is not None:
        actor._actor_loop_teardown()
    return held


def _last_word(actor: BaseActor | None, error: BaseException) -> None:
    if actor is None:
        return
    try:
        actor.on_failure(type(error), error, error.__traceback__)
    except BaseException:
        _log.exception("actor failed in on_failure", actor=str(actor.key))


def _decline(key: Key, letter: Letter, absent: NotFound) -> None:
    asker = asker_of(letter)
    if asker is not None:
        asker.reject(copy.copy(absent))
        return
    _log.info("message dropped", actor=str(key), message=name_of(letter.message), reason=absent.message)


def _content(letter: Letter | None) -> object | None:
    """The message to be kept as a dead letter: for a resumption, the one it belonged to."""
    if letter is None:
        return None
    if isinstance(letter.message, Resumption) and letter.message.parked is not None:
        return _content(letter.message.parked)
    message: object = letter.message
    return message


def _failed(key: Key, letter: Letter | None) -> ActorFailed:
    message = "its activation" if letter is None else name_of(letter.message)
    return ActorFailed(f"{key} failed in {message}; it was replaced and the message kept as a dead letter")
