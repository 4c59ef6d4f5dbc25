"""Activation, passivation, and what an actor weighs, on the pool and inline."""

from __future__ import annotations

import gc
import threading
import tracemalloc

import pykka
import pytest

from actors.base import BaseActor
from actors.messages import Dormant, Key
from platformd.errors import NotFound
from tests.actors.worlds import PATIENCE, A, Gate, Probe, World
from tests.support import eventually


def test_many_first_messages_activate_once(pool: World) -> None:
    barrier = threading.Barrier(8)

    def send() -> None:
        barrier.wait()
        for number in range(20):
            pool.tell(number)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.settle()
    assert pool.activations == [A]
    assert len(pool.heard) == 160


@pytest.mark.parametrize("absence", [NotFound("no such row"), Dormant("finished long ago")])
def test_without_a_row_the_asker_is_told_and_a_tell_is_dropped(world: World, absence: NotFound) -> None:
    def decline(_: Probe) -> None:
        raise absence

    world.on_activate = decline
    with pytest.raises(type(absence), match=absence.message):
        world.ask("anyone?")
    world.tell("news")
    world.settle()
    assert world.directory.count() == 0
    assert [entry["message"] for entry in world.logged("message dropped")] == ["str"]
    assert world.letters == []
    assert world.supervisor.record(A).restarts == 0


def test_a_message_that_comes_while_the_row_is_looked_for_gets_its_own_look(pool: World) -> None:
    """Created is told right after the commit: a look made just before it must not swallow it."""
    gate = Gate()

    def look(probe: Probe) -> None:
        if len(pool.activations) == 1:
            gate(probe)
            raise NotFound("not yet")

    pool.on_activate = look
    early = pool.directory.ask(A, "too early")
    gate.reached()
    pool.tell("created")
    gate.open()
    with pytest.raises(NotFound):
        early.get(timeout=PATIENCE)
    eventually(lambda: pool.heard == [(A, "created")])


def test_activate_makes_the_actor_without_a_message(world: World) -> None:
    world.directory.activate(A)
    world.settle()
    assert (world.activations, world.heard) == ([A], [])


def test_an_actor_that_may_is_forgotten_and_comes_back_with_the_next_message(world: World) -> None:
    world.all_may_passivate = True
    assert world.ask(1) == 1
    world.settle()
    eventually(lambda: world.directory.count() == 0)
    assert world.ask(2) == 2
    assert world.activations == [A, A]


def test_an_actor_that_may_not_stays(world: World) -> None:
    world.ask(1)
    world.settle()
    assert world.directory.count() == 1


def test_a_message_that_comes_while_it_says_yes_keeps_it(pool: World) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Hesitant(Probe):
        def may_passivate(self) -> bool:
            asked.set()
            answer.wait(PATIENCE)
            return True

    pool.directory.register("hesitant", lambda key: Hesitant(key, pool))
    key = Key("hesitant", "1")
    pool.tell("first", key)
    assert asked.wait(PATIENCE)
    pool.tell("second", key)
    answer.set()
    eventually(lambda: pool.directory.count() == 0)
    assert pool.heard == [(key, "first"), (key, "second")]
    assert pool.activations == [key], "the second message found the same actor"


def test_a_mailbox_that_closed_never_takes_its_successor_out_of_the_index(inline: World) -> None:
    inline.all_may_passivate = True
    old = inline.ask(lambda probe: probe.actor_inbox)
    inline.all_may_passivate = False
    inline.ask("back again")
    inline.directory._forget(old)
    assert inline.directory.find(A) is not None


def test_a_ref_to_a_passivated_actor_is_dead(world: World) -> None:
    ref = world.ask(lambda probe: probe.actor_ref)
    world.all_may_passivate = True
    world.ask("bye")
    world.settle()
    eventually(lambda: not ref.is_alive())
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("too late")


def test_a_passivated_actor_is_freed_without_the_garbage_collector(inline: World) -> None:
    ref = inline.ask(lambda probe: probe.actor_ref)
    inline.all_may_passivate = True
    gc.disable()
    try:
        inline.ask("bye")
        assert ref._actor_weakref() is None
    finally:
        gc.enable()


def test_an_actor_weighs_less_than_three_kilobytes(inline: World) -> None:
    inline.directory.register("plain", BaseActor)
    count = 2000
    keys = [Key("plain", f"{number:036d}") for number in range(count)]
    gc.collect()
    tracemalloc.start()
    try:
        for key in keys:
            inline.directory.activate(key)
        gc.collect()
        each = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()
    assert inline.directory.count() == count
    assert each < 3000


def test_a_factory_that_hands_out_the_same_actor_twice_is_caught(world: World) -> None:
    probe = world.ask(lambda probe: probe)
    world.directory.register("same", lambda _: probe)
    world.tell("x", Key("same", "1"))
    last = eventually(lambda: world.supervisor.record(Key("same", "1")).last)
    assert "must make a new actor" in last.error
