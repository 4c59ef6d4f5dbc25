"""The answer to an ask: a Pykka future that can call back, be answered later, and be withdrawn.

Made in the asker's thread, settled in any; callbacks run in the thread that settles and must not block.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pykka
import structlog

from actors.messages import ActorTimeout

if TYPE_CHECKING:
    from pykka._types import OptExcInfo

ASK_TIMEOUT = 5.0
_log = structlog.get_logger("actors")


class Phase(StrEnum):
    QUEUED = "queued"
    HANDLED = "handled"
    WITHDRAWN = "withdrawn"


class AskFuture(pykka.ThreadingFuture[Any]):
    """Settled once: `resolve` and `reject` say whether they were first, Pykka's `set` raises when not."""

    def __init__(self) -> None:
        super().__init__()
        self._callbacks: list[Callable[[AskFuture], object]] | None = None
        self._phase = Phase.QUEUED

    def get(self, *, timeout: float | None = None) -> Any:
        """The answer, or its exception; ActorTimeout after `timeout` seconds (5 when None)."""
        seconds = ASK_TIMEOUT if timeout is None else timeout
        try:
            return super().get(timeout=seconds)
        except ActorTimeout:
            raise
        except pykka.Timeout:
            raise self.expired(seconds) from None

    def expired(self, seconds: float) -> ActorTimeout:
        """Give the ask up after `seconds`; the error says whether it can still be carried out."""
        fate = "it was withdrawn" if self.withdraw() else "it may still be carried out"
        return ActorTimeout(f"no answer within {seconds:g} s; {fate}. Look at the object before trying again")

    def claim(self) -> bool:
        """Called by the actor's turn before handling: False when the asker has left."""
        with self._condition:
            if self._phase is Phase.WITHDRAWN:
                return False
            self._phase = Phase.HANDLED
            return True

    def withdraw(self) -> bool:
        """The asker leaves. True when the message had not been taken up and never will be."""
        with self._condition:
            if self._phase is Phase.QUEUED and self._result is None:
                self._phase = Phase.WITHDRAWN
            return self._phase is Phase.WITHDRAWN

    def done(self) -> bool:
        return self._result is not None

    def set(self, value: Any | None = None) -> None:
        super().set(value)
        self._call_back()

    def set_exception(self, exc_info: OptExcInfo | None = None) -> None:
        super().set_exception(exc_info)
        self._call_back()

    def resolve(self, value: object = None) -> bool:
        """Answer with `value`; False when there was an answer already."""
        try:
            self.set(value)
        except queue.Full:
            return False
        return True

    def reject(self, error: BaseException) -> bool:
        """Answer with an exception; False when there was an answer already."""
        try:
            self.set_exception((type(error), error, error.__traceback__))
        except queue.Full:
            return False
        return True

    def add_done_callback(self, callback: Callable[[AskFuture], object]) -> None:
        """Call `callback(self)` once settled: in the settling thread, or here when that was before."""
        with self._condition:
            if self._result is None:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(callback)
                return
        callback(self)

    def copy_to(self, other: AskFuture) -> None:
        """Settle `other` as this settled future was."""
        try:
            value = self.get(timeout=0)
        except BaseException as error:
            other.reject(error)
        else:
            other.resolve(value)

    def _call_back(self) -> None:
        with self._condition:
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback(self)
            except Exception:
                _log.exception("a callback of an actor's answer failed")


class Pending(AskFuture):
    """Returned by `receive` instead of an answer that is not known yet (it waits for a commit).

    Whoever learns it calls `resolve` or `reject`, on any thread; the asker gets it then.
    """
