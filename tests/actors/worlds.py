"""A directory with its runtime and supervisor, and an actor that does what a test's message tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog

from actors.base import BaseActor
from actors.directory import Directory
from actors.messages import DeadLetter, Key, Lane
from actors.runtime import InlineRuntime, PoolRuntime
from actors.supervisor import Failure, Supervisor

A = Key("probe", "a")
B = Key("probe", "b")
PATIENCE = 10.0


class Probe(BaseActor):
    """Runs each message that can be called with itself as the argument; notes and returns any other."""

    def __init__(self, key: Key, world: World) -> None:
        super().__init__(key)
        self.world = world
        self.notes: list[Any] = []
        self.may = False

    def on_activate(self) -> None:
        self.world.activations.append(self.key)
        self.world.on_activate(self)

    def receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        self.notes.append(message)
        self.world.heard.append((self.key, message))
        return message

    def may_passivate(self) -> bool:
        return self.may or self.world.all_may_passivate

    def describe(self) -> dict[str, Any]:
        return {"notes": len(self.notes)}


class World:
    def __init__(self, runtime: PoolRuntime | InlineRuntime, logs: list[structlog.typing.EventDict]) -> None:
        self.logs = logs
        self.runtime = runtime
        self.letters: list[DeadLetter] = []
        self.quarantines: list[tuple[Key, Failure]] = []
        self.activations: list[Key] = []
        self.heard: list[tuple[Key, Any]] = []
        self.all_may_passivate = False
        self.on_activate: Callable[[Probe], None] = lambda _: None
        self.supervisor = Supervisor(
            dead_letter=self.letters.append, on_quarantine=lambda *what: self.quarantines.append(what)
        )
        self.directory = Directory(runtime, self.supervisor)
        self.directory.register("probe", lambda key: Probe(key, self), capacity=8)

    @classmethod
    def pooled(cls, logs: list[structlog.typing.EventDict], **options: Any) -> World:
        runtime = PoolRuntime(**options)
        world = cls(runtime, logs)
        runtime.start()
        return world

    @classmethod
    def inline(cls, logs: list[structlog.typing.EventDict]) -> World:
        return cls(InlineRuntime(), logs)

    def end(self) -> None:
        self.directory.drop()
        if isinstance(self.runtime, PoolRuntime):
            assert self.runtime.stop(), "a thread of the pool is still in a turn"

    def tell(self, message: object, key: Key = A, lane: Lane = Lane.FACT) -> None:
        self.directory.tell(key, message, lane)

    def ask(self, message: object, key: Key = A) -> Any:
        return self.directory.ask(key, message).get(timeout=PATIENCE)

    def settle(self) -> None:
        assert self.directory.settle(PATIENCE), "the actors do not come to rest"

    def logged(self, event: str) -> list[structlog.typing.EventDict]:
        return [entry for entry in self.logs if entry["event"] == event]


class Gate:
    """Holds an actor within a message until opened; says when it got there."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, _: Probe) -> str:
        self._reached.set()
        assert self._open.wait(PATIENCE), "the gate was never opened"
        return "through"

    def reached(self) -> Gate:
        assert self._reached.wait(PATIENCE), "nobody came to the gate"
        return self

    def open(self) -> None:
        self._open.set()


def fails(error: BaseException) -> Callable[[Probe], None]:
    """A message that raises `error` in whoever receives it."""

    def poison(_: Probe) -> None:
        raise error

    return poison
