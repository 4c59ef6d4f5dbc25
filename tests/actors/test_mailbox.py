"""The mailbox alone: lanes, capacity, the states it passes and who gives it turns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pykka import ActorDeadError
from pykka._envelope import Envelope

from actors.base import BaseActor, make
from actors.mailbox import After, Kind, Mailbox, Offer, State
from actors.messages import Key, Lane, MailboxFull, Quarantined, Resumption

KEY = Key("thing", "1")


class Bench:
    """A mailbox whose turns the test takes itself."""

    def __init__(self, capacity: int = 3) -> None:
        self.scheduled = 0
        self.mailbox = Mailbox(KEY, Kind(BaseActor, capacity, self._schedule))

    def _schedule(self, _: Mailbox) -> None:
        self.scheduled += 1

    def offer(self, message: object, lane: Lane = Lane.FACT) -> Offer:
        return self.mailbox.offer(Envelope(message), lane)

    def take(self) -> Any:
        letter = self.mailbox.take()
        return None if letter is None else letter.message

    def begin(self) -> BaseActor:
        assert self.mailbox.begin()
        self.mailbox.actor = actor = make(BaseActor, self.mailbox)
        return actor


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_facts_come_before_commands_and_each_lane_keeps_its_order(bench: Bench) -> None:
    for message, lane in [("c1", Lane.COMMAND), ("f1", Lane.FACT), ("c2", Lane.COMMAND), ("f2", Lane.FACT)]:
        assert bench.offer(message, lane) is Offer.ACCEPTED
    bench.begin()
    assert [bench.take() for _ in range(5)] == ["f1", "f2", "c1", "c2", None]


def test_it_is_scheduled_once_until_its_turn_is_over(bench: Bench) -> None:
    bench.offer("a")
    bench.offer("b")
    bench.begin()
    bench.offer("c")
    assert bench.scheduled == 1
    assert bench.mailbox.end(After.REST) is True, "there is more: the caller schedules it again"
    assert bench.mailbox.state is State.READY


def test_commands_are_bounded_and_facts_are_not(bench: Bench) -> None:
    assert [bench.offer(n, Lane.COMMAND) for n in range(4)] == [Offer.ACCEPTED] * 3 + [Offer.FULL]
    assert {bench.offer(n) for n in range(1000)} == {Offer.ACCEPTED}
    assert bench.mailbox.mark() == (1000, 3)


def test_it_closes_only_when_nothing_came_meanwhile(bench: Bench) -> None:
    bench.offer("a")
    bench.begin()
    bench.take()
    bench.offer("b")
    assert bench.mailbox.end(After.CLOSE) is True
    bench.begin()
    bench.take()
    assert bench.mailbox.end(After.CLOSE) is False
    assert bench.mailbox.state is State.CLOSED
    assert bench.offer("c") is Offer.CLOSED


def test_pykkas_put_raises_what_an_offer_returns(bench: Bench) -> None:
    for n in range(3):
        bench.mailbox.put(Envelope(n))
    with pytest.raises(MailboxFull) as full:
        bench.mailbox.put(Envelope(3))
    assert (full.value.status, full.value.retry_after) == (503, 1)
    bench.mailbox.close(State.QUARANTINED)
    with pytest.raises(Quarantined):
        bench.mailbox.put(Envelope(4))
    bench.mailbox.close(State.CLOSED)
    with pytest.raises(ActorDeadError):
        bench.mailbox.put(Envelope(5))


def test_parked_it_keeps_what_comes_and_takes_nothing(bench: Bench) -> None:
    bench.offer("a")
    actor = bench.begin()
    bench.take()
    actor.park()
    bench.offer("b")
    assert bench.take() is None
    assert bench.mailbox.end(After.REST) is False
    assert bench.mailbox.state is State.PARKED
    bench.offer("c")
    assert bench.scheduled == 1


def test_resumed_it_runs_the_callable_before_anything_queued(bench: Bench) -> None:
    bench.offer("a")
    actor = bench.begin()
    bench.take()
    actor.park()
    bench.mailbox.end(After.REST)
    bench.offer("b")
    assert actor.resume(print)
    assert bench.scheduled == 2
    assert bench.mailbox.begin()
    first = bench.take()
    assert isinstance(first, Resumption)
    assert (first.call, first.parked.message) == (print, "a")
    assert bench.take() == "b"


def test_resumed_before_the_turn_is_over_it_goes_on_in_it(bench: Bench) -> None:
    bench.offer("a")
    actor = bench.begin()
    bench.take()
    actor.park()
    assert actor.resume(print)
    assert isinstance(bench.take(), Resumption)
    assert bench.scheduled == 1


def test_a_second_resume_and_one_by_a_replaced_actor_do_nothing(bench: Bench) -> None:
    bench.offer("a")
    old = bench.begin()
    old.park()
    assert old.resume(print)
    assert not old.resume(print)
    bench.mailbox.dismiss()
    bench.mailbox.actor = new = make(BaseActor, bench.mailbox)
    new.park()
    assert not old.resume(print)
    assert bench.mailbox.parking is not None


def test_only_the_actor_parks_and_only_in_its_turn(bench: Bench) -> None:
    bench.offer("a")
    actor = bench.begin()
    bench.mailbox.end(After.REST)
    with pytest.raises(RuntimeError, match="within its turn"):
        actor.park()


def test_a_restart_of_a_parked_actor_gives_it_a_turn(bench: Bench) -> None:
    bench.offer("a")
    actor = bench.begin()
    bench.take()
    actor.park()
    bench.mailbox.end(After.REST)
    assert bench.mailbox.request_restart()
    assert bench.mailbox.state is State.READY
    assert bench.mailbox.begin()
    assert bench.mailbox.take_restart()
    gone, held = bench.mailbox.dismiss()
    assert gone is actor
    assert held is not None
    assert held.message == "a"
    assert not bench.mailbox.take_restart()


def test_waiting_it_keeps_everything_until_woken(bench: Bench) -> None:
    bench.offer("a")
    bench.begin()
    assert bench.mailbox.end(After.WAIT) is False
    bench.offer("b")
    assert bench.scheduled == 1
    bench.mailbox.wake()
    assert bench.scheduled == 2
    bench.begin()
    assert [bench.take(), bench.take()] == ["a", "b"]


def test_marked_messages_are_the_oldest_of_each_lane(bench: Bench) -> None:
    bench.offer("f1")
    bench.offer("c1", Lane.COMMAND)
    marks = bench.mailbox.mark()
    bench.offer("f2")
    bench.offer("c2", Lane.COMMAND)
    assert [letter.message for letter in bench.mailbox.take_marked(marks)] == ["f1", "c1"]
    bench.begin()
    assert [bench.take(), bench.take()] == ["f2", "c2"]


def test_a_closed_mailbox_never_becomes_anything_else(bench: Bench) -> None:
    bench.mailbox.close(State.CLOSED)
    bench.mailbox.close(State.QUARANTINED)
    assert bench.mailbox.state is State.CLOSED
    assert not bench.mailbox.reopen()
    assert not bench.mailbox.request_restart()


@given(st.lists(st.tuples(st.sampled_from(Lane), st.integers()), max_size=60), st.data())
def test_whatever_the_interleaving_nothing_is_lost_or_reordered(
    offers: list[tuple[Lane, int]], data: st.DataObject
) -> None:
    bench = Bench(capacity=1000)
    taken: list[tuple[Lane, int]] = []
    pending = list(offers)
    while pending or bench.mailbox.state is not State.IDLE:
        act = data.draw(st.sampled_from(["offer", "turn"]))
        if act == "offer" and pending:
            lane, number = pending.pop(0)
            bench.offer((lane, number), lane)
        elif bench.mailbox.begin():
            for _ in range(data.draw(st.integers(0, 3))):
                taken += [message] if (message := bench.take()) else []
            bench.mailbox.end(After.REST)
        else:
            act = "nothing to run"
            if not pending:
                break
    for lane in Lane:
        assert [entry for entry in taken if entry[0] is lane] == [
            entry for entry in offers if entry[0] is lane
        ]


def test_senders_and_the_turn_lose_nothing_between_them() -> None:
    bench = Bench(capacity=100_000)
    senders, each, taken = 4, 3000, []
    done = threading.Event()

    def send(sender: int) -> Callable[[], None]:
        return lambda: [bench.offer((sender, n), Lane.COMMAND) for n in range(each)] and None

    def run() -> None:
        while not done.is_set() or bench.mailbox.state is State.READY:
            if bench.mailbox.begin():
                while (message := bench.take()) is not None:
                    taken.append(message)
                bench.mailbox.end(After.REST)

    runner = threading.Thread(target=run)
    threads = [threading.Thread(target=send(n)) for n in range(senders)]
    for thread in [runner, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    runner.join(20)
    for sender in range(senders):
        assert [n for who, n in taken if who == sender] == list(range(each))
