"""The actor whose state is a persisted snapshot: load, step, save, carry out. The one way both kinds change.

A fact acts at once and its row is written behind. A command is a promise: its row is durable before anything acts
on it and before the asker hears; meanwhile the mailbox is parked. Runs in turns: on the pool's threads, or on
the loop's while that is lent.
"""

from __future__ import annotations

import contextlib
import random
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from actors.base import BaseActor
from actors.futures import Pending
from actors.messages import Key, TimerFired
from actors.world import World, crash_point
from platformd import clock
from platformd.domain.effects import Moment
from platformd.domain.events import TimerElapsed
from platformd.domain.machine import Step
from platformd.domain.notice import Notice
from platformd.errors import NotFound
from platformd.ids import new_id


class Snapshot(Protocol):
    @property
    def revision(self) -> int: ...
    @property
    def next_deadline(self) -> datetime | None: ...


S = TypeVar("S", bound=Snapshot)
_DEADLINE = "deadline"


class SnapshotActor(BaseActor, Generic[S]):
    """An actor around one pure state machine."""

    COMMANDS: tuple[type, ...] = ()
    # Effects that speak to whom the former state kept waiting: carried out before `became`.
    PARTING: tuple[type, ...] = ()

    def __init__(self, key: Key, world: World) -> None:
        super().__init__(key)
        self.world = world
        self.state: S | None = None
        self._timer: datetime | None = None

    # For the two kinds

    @abstractmethod
    def load(self) -> S:
        """The snapshot from the store; NotFound when there is none."""

    @abstractmethod
    def step(self, state: S, event: object, moment: Moment) -> Step[S, Any]: ...

    @abstractmethod
    def carry_out(self, state: S, effect: Any) -> None: ...

    @abstractmethod
    def save_behind(self, state: S, notices: Sequence[Notice]) -> None: ...

    @abstractmethod
    def commit(self, state: S, notices: Sequence[Notice]) -> Future[Any]: ...

    @abstractmethod
    def notices(self, before: S, after: S, event: object) -> Sequence[Notice]: ...

    def promises(self, event: object, _before: S, _after: S, /) -> bool:
        """Must this be durable before anything acts on it?"""
        return isinstance(event, self.COMMANDS)

    def became(self) -> None:
        """`state` is another from now on; called before the effects of that step, not after loading."""

    # What is the same for both

    def receive(self, message: Any) -> Any:
        state = self.require()
        event = TimerElapsed() if type(message) is TimerFired else message
        if type(message) is TimerFired:
            self._timer = None
        result = self.step(state, event, self.moment())
        if self.promises(event, state, result.state):
            return self._commit_and_act(event, state, result)
        try:
            self._act(state, result)
        finally:
            # Also when acting on it failed: whoever replaces this actor goes on from what has happened.
            if result.state is not state:
                self.save_behind(result.state, self.notices(state, result.state, event))
        return None

    def require(self) -> S:
        """The present state, loaded at the first need."""
        if self.state is None:
            self.begin(self.load())
        assert self.state is not None
        return self.state

    def begin(self, state: S) -> None:
        """Live on from `state`."""
        self.state = state
        self._set_timer(state)

    def moment(self) -> Moment:
        return Moment(clock.steady(), random.uniform(-1, 1), self.next_id)

    def next_id(self, _slot: int, /) -> str:
        """For what a step begins."""
        return new_id()

    def _act(self, before: S, result: Step[S, Any]) -> None:
        self.state = result.state
        self._carry_out_all(effect for effect in result.effects if isinstance(effect, self.PARTING))
        if result.state is not before:
            self.became()
        self._carry_out_all(effect for effect in result.effects if not isinstance(effect, self.PARTING))
        self._set_timer(result.state)

    def _carry_out_all(self, effects: Iterable[Any]) -> None:
        for effect in effects:
            name = type(effect).__name__
            crash_point(f"before:{name}")
            self.carry_out(self.require(), effect)
            crash_point(f"after:{name}")

    def _commit_and_act(self, event: object, before: S, result: Step[S, Any]) -> Any:
        changed = result.state is not before
        if not changed and self.world.store.is_saved(self.key.id):
            self._act(before, result)
            return before
        answer = Pending()
        self.park()
        saved = self.commit(result.state, self.notices(before, result.state, event) if changed else ())
        saved.add_done_callback(lambda done: self._stored(event, before, result, done, answer))
        return answer

    def _stored(
        self, event: object, before: S, result: Step[S, Any], saved: Future[Any], answer: Pending
    ) -> None:
        """On the writer's thread. One that was replaced while it waited has a successor that began from the row as it
        was before: that one is replaced as well."""
        resumed = self.resume(lambda: self._committed(event, before, result, saved, answer))
        if not resumed and saved.exception() is None:
            with contextlib.suppress(NotFound):
                self.world.directory.restart(self.key)

    def _committed(
        self, event: object, before: S, result: Step[S, Any], saved: Future[Any], answer: Pending
    ) -> None:
        """Durable: act and answer. Not durable: a command has not happened, and the asker hears why; a fact has."""
        error = saved.exception()
        if error is not None and isinstance(event, self.COMMANDS):
            answer.reject(error)
            return
        self._act(before, result)
        if error is not None:
            self.save_behind(result.state, self.notices(before, result.state, event))
        answer.resolve(result.state)

    def _set_timer(self, state: S) -> None:
        at = state.next_deadline
        if at == self._timer:
            return
        self._timer = at
        if at is None:
            self.world.timers.clear(self.key, _DEADLINE)
        else:
            self.world.timers.set(self.key, _DEADLINE, at)
