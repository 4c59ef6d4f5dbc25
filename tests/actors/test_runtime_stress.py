"""Many threads, thousands of keys, passivation, restarts, failures and parking at random.

Every message that was accepted is handled exactly once and in its sender's order within its lane; no key is ever
run by two threads; every ask that was accepted is answered.
"""

from __future__ import annotations

import queue
import random
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from actors.base import BaseActor
from actors.directory import Directory
from actors.futures import AskFuture, Pending
from actors.messages import ActorFailed, DeadLetter, Key, Lane, MailboxFull, Restarted
from actors.runtime import PoolRuntime
from actors.supervisor import Supervisor
from platformd.errors import NotFound

SENDERS = 4
PATIENCE = 60.0


class Note(NamedTuple):
    sender: int
    number: int
    lane: Lane
    act: str


class Stage:
    """What happened, kept outside the actors because they come and go."""

    def __init__(self) -> None:
        self.handled: dict[Key, list[Note]] = defaultdict(list)
        self.accepted: dict[Key, list[Note]] = defaultdict(list)
        self.running: set[Key] = set()
        self.doubled: list[Key] = []
        self.commits: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.resumed = Counter[str]()
        self.letters: list[DeadLetter] = []
        self.activated = Counter[Key]()


class Extra(BaseActor):
    def __init__(self, key: Key, stage: Stage) -> None:
        super().__init__(key)
        self.stage = stage
        self.random = random.Random(hash(key))

    def on_activate(self) -> None:
        self.stage.activated[self.key] += 1

    def receive(self, note: Note) -> Any:
        if self.key in self.stage.running:
            self.stage.doubled.append(self.key)
        self.stage.running.add(self.key)
        try:
            self.stage.handled[self.key].append(note)
            if note.act == "fail":
                raise ValueError(note)
            return self._park(note) if note.act == "park" else note
        finally:
            self.stage.running.discard(self.key)

    def may_passivate(self) -> bool:
        return self.random.random() < 0.3

    def _park(self, note: Note) -> Pending:
        pending = Pending()
        self.park()
        self.stage.commits.put((self, pending, note))
        return pending


@pytest.fixture
def fine_switching() -> Iterator[None]:
    """Threads take turns two orders of magnitude more often than they ever will in service."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.000005)
    yield
    sys.setswitchinterval(before)


def write(stage: Stage) -> None:
    """The writer thread: ends the parking of one actor after the other."""
    while (work := stage.commits.get()) is not None:
        actor, pending, note = work
        stage.resumed[str(actor.resume(lambda p=pending, n=note: p.resolve(n)))] += 1


def send(sender: int, stage: Stage, directory: Directory, keys: list[Key], count: int) -> list[AskFuture]:
    chance = random.Random(sender)
    asked = []
    for number in range(count):
        key = chance.choice(keys)
        act = chance.choices(["plain", "park", "fail", "restart"], [90, 4, 3, 3])[0]
        if act == "restart":
            try:
                directory.restart(key)
            except NotFound:
                continue
        elif chance.random() < 0.5:
            note = Note(sender, number, Lane.FACT, act)
            directory.tell(key, note)
            stage.accepted[key].append(note)
        else:
            note = Note(sender, number, Lane.COMMAND, act)
            try:
                asked.append(directory.ask(key, note))
            except MailboxFull:
                continue
            stage.accepted[key].append(note)
    return asked


@pytest.mark.parametrize(("key_count", "messages"), [(3000, 8000), (5, 8000)], ids=["spread", "crowded"])
def test_every_accepted_message_is_handled_exactly_once_in_order(
    no_leaks: None, logs: list[Any], fine_switching: None, key_count: int, messages: int
) -> None:
    stage = Stage()
    runtime = PoolRuntime(threads=3)
    directory = Directory(runtime, Supervisor(dead_letter=stage.letters.append, budget=10**9))
    directory.register("extra", lambda key: Extra(key, stage), capacity=16)
    keys = [Key("extra", str(number)) for number in range(key_count)]
    runtime.start()
    writer = threading.Thread(target=write, args=(stage,))
    writer.start()
    asked: list[AskFuture] = []
    senders = [
        threading.Thread(target=lambda n=number: asked.extend(send(n, stage, directory, keys, messages)))
        for number in range(SENDERS)
    ]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    assert directory.settle(PATIENCE)
    stage.commits.put(None)
    writer.join()

    outcomes = Counter(_outcome(future) for future in asked)
    left = directory.count()
    directory.drop()
    assert runtime.stop()

    assert stage.doubled == []
    for key in keys:
        for sender in range(SENDERS):
            for lane in Lane:
                mine = [note for note in stage.handled[key] if (note.sender, note.lane) == (sender, lane)]
                sent = [note for note in stage.accepted[key] if (note.sender, note.lane) == (sender, lane)]
                assert mine == sent, f"{key}, sender {sender}, {lane}"
    failed = sum(note.act == "fail" for notes in stage.handled.values() for note in notes)
    assert len(stage.letters) == failed > 0
    assert {letter.message.act for letter in stage.letters} == {"fail"}
    assert set(outcomes) <= {"answered", "ActorFailed", "Restarted"}
    assert outcomes["answered"] > 0
    assert outcomes["ActorFailed"] > 0
    assert stage.resumed["True"] > 0
    assert left < key_count or key_count < 10, "some went to rest"
    assert max(stage.activated.values()) > 1


def _outcome(future: AskFuture) -> str:
    try:
        future.get(timeout=PATIENCE)
    except (ActorFailed, Restarted) as error:
        return type(error).__name__
    return "answered"
