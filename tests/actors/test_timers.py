"""Timers: inline under a frozen clock, and with their thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import Key, TimerFired
from actors.timers import Timers
from platformd import clock
from tests.actors.worlds import A, B, Probe, World
from tests.support import eventually

SECOND = timedelta(seconds=1)


class Wheel:
    def __init__(self) -> None:
        self.fired: list[tuple[Key, TimerFired]] = []
        self.timers = Timers(lambda key, fired: self.fired.append((key, fired)))

    @property
    def names(self) -> list[str]:
        return [fired.name for _, fired in self.fired]


@pytest.fixture
def wheel() -> Wheel:
    return Wheel()


@pytest.fixture
def turning(no_leaks: None) -> Iterator[Wheel]:
    wheel = Wheel()
    wheel.timers.start()
    yield wheel
    wheel.timers.stop()


def test_a_timer_fires_once_when_its_instant_has_come(wheel: Wheel) -> None:
    with freeze_time("2030-01-01") as time:
        at = clock.steady() + 5 * SECOND
        wheel.timers.set(A, "idle", at)
        time.tick(4.999)
        assert wheel.timers.fire_due() == 0
        time.tick(0.001)
        assert wheel.timers.fire_due() == 1
        assert wheel.timers.fire_due() == 0
    assert wheel.fired == [(A, TimerFired("idle", at))]
    assert len(wheel.timers) == 0


def test_setting_again_moves_it_and_clearing_forgets_it(wheel: Wheel) -> None:
    with freeze_time("2030-01-01") as time:
        now = clock.steady()
        wheel.timers.set(A, "idle", now + SECOND)
        wheel.timers.set(A, "idle", now + 3 * SECOND)
        wheel.timers.set(A, "wake", now + SECOND)
        wheel.timers.clear(A, "wake")
        wheel.timers.clear(A, "never set")
        time.tick(2)
        assert wheel.timers.fire_due() == 0
        assert wheel.timers.of(A) == {"idle": now + 3 * SECOND}
        time.tick(1)
        assert wheel.timers.fire_due() == 1


def test_clearing_a_key_leaves_the_others(wheel: Wheel) -> None:
    past = clock.steady() - SECOND
    for key in (A, B):
        for name in ("one", "two"):
            wheel.timers.set(key, name, past)
    wheel.timers.clear_all(A)
    wheel.timers.clear_all(A)
    assert len(wheel.timers) == 2
    wheel.timers.fire_due()
    assert wheel.fired == [(B, TimerFired("one", past)), (B, TimerFired("two", past))]


def test_they_fire_in_the_order_of_their_instants(wheel: Wheel) -> None:
    now = clock.steady()
    for seconds in (3, 1, 2):
        wheel.timers.set(A, str(seconds), now - seconds * SECOND)
    wheel.timers.fire_due()
    assert wheel.names == ["3", "2", "1"]


def test_what_a_firing_sets_waits_for_the_next_look_and_what_it_clears_does_not_fire(wheel: Wheel) -> None:
    past = clock.steady() - SECOND

    def tell(key: Key, fired: TimerFired) -> None:
        wheel.fired.append((key, fired))
        wheel.timers.set(A, fired.name, past)
        wheel.timers.clear(B, "other")

    wheel.timers._tell = tell
    wheel.timers.set(A, "self", past - SECOND)
    wheel.timers.set(B, "other", past)
    assert wheel.timers.fire_due() == 1
    assert wheel.names == ["self"]
    assert wheel.timers.fire_due() == 1


def test_a_naive_instant_is_refused(wheel: Wheel) -> None:
    with pytest.raises(ValueError, match="aware datetime"):
        wheel.timers.set(A, "idle", datetime(2030, 1, 1))


def test_a_hundred_thousand_set_and_cleared_leave_nothing(wheel: Wheel) -> None:
    far = clock.steady() + timedelta(days=1)
    for number in range(100_000):
        key = Key("task", str(number % 500))
        wheel.timers.set(key, "idle", far)
        wheel.timers.set(key, "idle", far + SECOND)
        wheel.timers.clear(key, "idle")
    assert len(wheel.timers) == 0
    assert len(wheel.timers._heap) < 200
    assert wheel.timers._live == {}
    for number in range(1000):
        wheel.timers.set(A, "idle", far + number * SECOND)
    assert len(wheel.timers._heap) < 200


def test_one_that_cannot_be_told_does_not_keep_the_others(wheel: Wheel, logs: list[Any]) -> None:
    past = clock.steady() - SECOND

    def tell(key: Key, fired: TimerFired) -> None:
        if key == A:
            raise RuntimeError("gone")
        wheel.fired.append((key, fired))

    wheel.timers._tell = tell
    wheel.timers.set(A, "idle", past)
    wheel.timers.set(B, "idle", past)
    wheel.timers.fire_due()
    assert [key for key, _ in wheel.fired] == [B]
    assert [entry["timer"] for entry in logs] == ["idle"]


MOVES = st.one_of(
    st.tuples(st.just("set"), st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(-5, 20)),
    st.tuples(st.just("clear"), st.sampled_from("abc"), st.sampled_from("xyz"), st.just(0)),
    st.tuples(st.just("clear_all"), st.sampled_from("abc"), st.just(""), st.just(0)),
    st.tuples(st.just("tick"), st.just(""), st.just(""), st.integers(0, 5)),
)


@given(st.lists(MOVES, max_size=80))
def test_it_does_what_a_dictionary_would(moves: list[tuple[str, str, str, int]]) -> None:
    wheel, model = Wheel(), {}
    with freeze_time("2030-01-01") as time:
        for move, id, name, number in moves:
            key = Key("task", id)
            if move == "set":
                model[key, name] = at = clock.steady() + number * SECOND
                wheel.timers.set(key, name, at)
            elif move == "clear":
                model.pop((key, name), None)
                wheel.timers.clear(key, name)
            elif move == "clear_all":
                model = {entry: at for entry, at in model.items() if entry[0] != key}
                wheel.timers.clear_all(key)
            else:
                time.tick(number)
                due = {(entry, at) for entry, at in model.items() if at <= clock.steady()}
                model = {entry: at for entry, at in model.items() if at > clock.steady()}
                wheel.fired.clear()
                wheel.timers.fire_due()
                assert {((key, fired.name), fired.at) for key, fired in wheel.fired} == due
                assert len(wheel.fired) == len(due)
            assert len(wheel.timers) == len(model)


# With the thread


def test_the_thread_fires_what_is_due_soon_though_it_was_waiting_for_something_late(turning: Wheel) -> None:
    now = clock.steady()
    turning.timers.set(A, "late", now + timedelta(hours=1))
    turning.timers.set(A, "soon", now + timedelta(milliseconds=50))
    eventually(lambda: turning.names == ["soon"])
    assert clock.steady() >= now + timedelta(milliseconds=50)


def test_the_thread_follows_a_clock_that_jumps(turning: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a suspend the steady clock is far ahead of what the waiting thread reckoned with."""
    turning.timers.set(A, "idle", clock.steady() + timedelta(hours=1))
    real = clock.steady
    monkeypatch.setattr(clock, "steady", lambda: real() + timedelta(hours=2))
    eventually(lambda: turning.names == ["idle"])


def test_setting_a_distant_timer_does_not_wake_the_thread(turning: Wheel) -> None:
    """The wake of an app sets its time-out on the way: that must not cost a hand-over."""
    eventually(lambda: turning.timers._next_look is not None)
    notified: list[int] = []
    turning.timers._changed.notify = lambda n=1: notified.append(n)  # type: ignore[method-assign]
    turning.timers.set(A, "wake", clock.steady() + timedelta(seconds=60))
    assert notified == []
    turning.timers.set(A, "soon", clock.steady() + timedelta(milliseconds=300))
    assert notified == [1]


def test_nothing_fires_after_stop(no_leaks: None) -> None:
    wheel = Wheel()
    wheel.timers.start()
    wheel.timers.stop()
    wheel.timers.set(A, "idle", clock.steady() - SECOND)
    assert wheel.timers.fire_due() == 0


def test_threads_setting_and_clearing_at_once_lose_nothing(turning: Wheel) -> None:
    soon = clock.steady() + timedelta(milliseconds=100)

    def churn(number: int) -> None:
        for step in range(500):
            key = Key("task", f"{number}-{step}")
            turning.timers.set(key, "keep", soon)
            turning.timers.set(key, "drop", soon + timedelta(hours=1))
            turning.timers.clear(key, "drop")

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(turning.fired) == 2000)
    assert set(turning.names) == {"keep"}
    assert len({key for key, _ in turning.fired}) == 2000
    assert len(turning.timers) == 0


def test_a_firing_is_a_fact_for_the_actor(inline: World) -> None:
    timers = Timers(inline.directory.tell)
    with freeze_time("2030-01-01") as time:
        at = clock.steady() + SECOND
        inline.on_activate = lambda probe: timers.set(probe.key, "idle", at)

        def nothing(_: Probe) -> None: ...

        inline.tell(nothing)
        time.tick(1)
        timers.fire_due()
    assert inline.heard == [(A, TimerFired("idle", at))]
