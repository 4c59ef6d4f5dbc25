"""Parking until a commit, and restarts between two messages."""

from __future__ import annotations

import threading

import pytest

from actors.futures import Pending
from actors.mailbox import State
from actors.messages import ActorTimeout, Restarted
from platformd.errors import NotFound
from tests.actors.worlds import PATIENCE, A, Gate, Probe, World
from tests.support import eventually


def test_a_parked_actor_takes_nothing_until_resumed_and_then_the_callable_first(world: World) -> None:
    def park(probe: Probe) -> None:
        probe.park()

    probe = world.ask(lambda probe: probe)
    world.tell(park)
    world.tell("after")
    eventually(lambda: world.directory.find(A).state is State.PARKED)
    assert world.heard == []
    info = world.directory.find(A)
    assert (info.facts, info.parked_since is not None) == (1, True)
    assert not world.directory.settle(0.02)
    assert probe.resume(lambda: probe.notes.append("committed"))
    world.settle()
    assert probe.notes == ["committed", "after"]


def test_resumed_by_another_thread_before_the_message_is_over(pool: World) -> None:
    def park_and_commit_at_once(probe: Probe) -> None:
        probe.park()
        writer = threading.Thread(target=probe.resume, args=(lambda: probe.notes.append("committed"),))
        writer.start()
        writer.join()
        probe.notes.append("end of message")

    probe = pool.ask(lambda probe: probe)
    pool.tell(park_and_commit_at_once)
    pool.tell("after")
    eventually(lambda: probe.notes == ["end of message", "committed", "after"])


def test_a_parked_actor_never_resumed_times_its_askers_out_and_heals_by_restart(world: World) -> None:
    def park(probe: Probe) -> Pending:
        probe.park()
        return Pending()

    held = world.directory.ask(A, park)
    queued = world.directory.ask(A, "queued")
    for ask in (held, queued):
        with pytest.raises(ActorTimeout):
            ask.get(timeout=0.02)
    later = world.directory.ask(A, "later")
    world.directory.restart(A)
    assert later.get(timeout=PATIENCE) == "later"
    with pytest.raises(Restarted):
        held.get(timeout=PATIENCE)
    assert world.heard == [(A, "later")], "what timed out while queued was withdrawn"
    assert world.directory.find(A).restarts == 1


def test_restart_replaces_the_actor_between_messages_and_loses_nothing(pool: World) -> None:
    gate = Gate()
    old = pool.ask(lambda probe: probe)
    pool.tell(gate)
    gate.reached()
    for number in range(30):
        pool.tell(number)
    pool.directory.restart(A)
    pool.tell(30)
    gate.open()
    pool.settle()
    assert [message for _, message in pool.heard] == list(range(31))
    assert old.notes == [], "the rest of its turn was for its successor"
    assert pool.ask(lambda probe: probe) is not old
    assert not old.actor_ref.is_alive()
    assert len(pool.activations) == 2


def test_stopped_by_its_ref_an_actor_leaves_what_is_queued_to_its_successor(pool: World) -> None:
    gate = Gate()
    old = pool.ask(lambda probe: probe)
    pool.tell(gate)
    gate.reached()
    stopped = old.actor_ref.stop(block=False)
    after = pool.directory.ask(A, "after")
    gate.open()
    assert stopped.get(timeout=PATIENCE) is True
    assert after.get(timeout=PATIENCE) == "after"
    assert old.notes == []
    assert pool.activations == [A, A]


def test_there_is_nobody_to_restart(world: World) -> None:
    with pytest.raises(NotFound, match="probe:a has no actor"):
        world.directory.restart(A)
