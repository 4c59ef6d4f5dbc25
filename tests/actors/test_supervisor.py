"""What happens when an actor raises: to the message, the asker, the queue behind it, the key, and all others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from freezegun import freeze_time

from actors.futures import Pending
from actors.mailbox import State
from actors.messages import ActorFailed, Key, Lane, Quarantined, Reason
from actors.supervisor import BUDGET, KEPT_RECORDS, WINDOW, Supervisor, Verdict
from platformd.errors import PlatformError
from tests.actors.worlds import PATIENCE, A, B, Gate, Probe, World, fails
from tests.support import eventually

POISONS = [
    ValueError("bad"),
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    PlatformError("ours"),
]


@pytest.mark.parametrize("error", POISONS, ids=lambda error: type(error).__name__)
def test_an_ask_and_a_tell_that_fail_have_the_same_outcome(world: World, error: BaseException) -> None:
    poison = fails(error)
    first = world.ask(lambda probe: probe)
    with pytest.raises(ActorFailed) as failed:
        world.ask(poison)
    assert (failed.value.status, failed.value.code) == (500, "ACTOR_FAILED")
    second = world.ask(lambda probe: probe)
    world.tell(poison)
    world.settle()
    third = world.ask(lambda probe: probe)
    assert len({id(first), id(second), id(third)}) == 3, "each failure replaced the actor"
    assert [(letter.key, letter.message, letter.reason) for letter in world.letters] == [
        (A, poison, Reason.FAILED)
    ] * 2
    assert type(error).__name__ in world.letters[0].error
    assert "in poison" in world.letters[0].traceback
    assert not first.actor_ref.is_alive()
    assert world.directory.find(A).restarts == 2
    assert world.directory.find(A).last_failure.message == "function"


def test_only_the_poison_leaves(pool: World) -> None:
    gate = Gate()
    pool.tell(gate)
    gate.reached()
    for number in range(20):
        pool.tell(fails(ValueError()) if number == 10 else number)
    gate.open()
    pool.settle()
    assert [message for _, message in pool.heard] == [number for number in range(20) if number != 10]
    assert len(pool.letters) == 1


def test_the_new_actor_is_there_at_once_and_not_only_with_the_next_message(world: World) -> None:
    world.tell(fails(ValueError()))
    world.settle()
    assert world.activations == [A, A]


def test_others_never_notice(world: World) -> None:
    neighbour = world.ask(lambda probe: probe, B)
    for _ in range(BUDGET + 1):
        world.tell(fails(SystemExit()))
    world.settle()
    assert world.ask(lambda probe: probe, B) is neighbour


def test_one_failure_beyond_the_budget_quarantines_that_key(world: World) -> None:
    for _ in range(BUDGET):
        world.tell(fails(ValueError("again")))
    world.settle()
    assert world.quarantines == []
    with pytest.raises(ActorFailed):
        world.ask(fails(ValueError("the last")))
    world.settle()
    [(key, failure)] = world.quarantines
    assert (key, failure.error) == (A, "ValueError: the last")
    with pytest.raises(Quarantined) as refused:
        world.directory.ask(A, "command")
    assert (refused.value.status, refused.value.code) == (503, "QUARANTINED")
    with pytest.raises(Quarantined):
        world.tell("command", lane=Lane.COMMAND)
    world.tell("fact")
    assert (world.letters[-1].message, world.letters[-1].reason) == ("fact", Reason.QUARANTINED)
    assert world.directory.find(A).state is State.QUARANTINED
    assert world.ask("fine", B) == "fine"


def test_what_was_queued_behind_the_last_poison_is_answered_or_buried(pool: World) -> None:
    for _ in range(BUDGET):
        pool.tell(fails(ValueError()))
    pool.settle()
    gate = Gate()
    pool.tell(gate)
    gate.reached()
    pool.tell(fails(ValueError()))
    pool.tell("fact")
    command = pool.directory.ask(A, "command")
    gate.open()
    with pytest.raises(Quarantined):
        command.get(timeout=PATIENCE)
    eventually(lambda: [letter.message for letter in pool.letters[-1:]] == ["fact"])
    assert pool.heard == []


def test_resume_ends_a_quarantine_with_a_whole_budget(world: World) -> None:
    for _ in range(BUDGET + 1):
        world.tell(fails(ValueError()))
    world.settle()
    activations = len(world.activations)
    assert world.directory.resume(A) is True
    world.settle()
    assert len(world.activations) == activations + 1
    for _ in range(BUDGET):
        world.tell(fails(ValueError()))
    assert world.ask("here") == "here"
    assert world.directory.resume(A) is False


def test_restart_ends_a_quarantine_too(world: World) -> None:
    for _ in range(BUDGET + 1):
        world.tell(fails(ValueError()))
    world.settle()
    world.directory.restart(A)
    assert world.ask("here") == "here"


def test_a_resume_from_within_the_announcement_is_no_race(pool: World) -> None:
    """An operator may be faster than the turn that still announces the quarantine."""
    gate = Gate()

    def be_fast(key: Key, _: object) -> None:
        assert pool.directory.resume(key)
        pool.tell(gate)
        gate.reached()

    pool.supervisor._on_quarantine = be_fast
    for _ in range(BUDGET + 1):
        pool.tell(fails(ValueError()))
    gate.reached()
    eventually(lambda: [worker.mailbox for worker in pool.runtime._workers].count(None) == 1)
    assert pool.directory.find(A).state is State.RUNNING, "the turn that announced has not ended the other's"
    gate.open()
    assert pool.ask("here") == "here"


def test_failures_older_than_the_window_are_forgiven(inline: World) -> None:
    with freeze_time("2030-01-01") as clock:
        for _ in range(BUDGET * 3):
            inline.tell(fails(ValueError()))
            clock.tick(timedelta(seconds=WINDOW / BUDGET + 0.1))
    assert inline.quarantines == []
    assert inline.directory.find(A).restarts == BUDGET * 3


# Hooks


def test_an_actor_that_cannot_be_activated_is_tried_again_and_keeps_its_messages(pool: World) -> None:
    def stumble(_: Probe) -> None:
        if len(pool.activations) < 3:
            raise OSError("disk")

    pool.on_activate = stumble
    pool.tell("fact")
    assert pool.ask("command") == "command"
    assert pool.heard == [(A, "fact"), (A, "command")]
    assert pool.letters == []


def test_one_that_never_activates_ends_in_quarantine_with_everything_answered(inline: World) -> None:
    inline.on_activate = fails(RuntimeError("malformed row"))
    with pytest.raises(Quarantined):
        inline.ask("command")
    assert inline.quarantines[0][1].error == "RuntimeError: malformed row"
    assert inline.quarantines[0][1].message is None
    assert inline.letters == []


def test_a_failing_factory_is_fenced(inline: World) -> None:
    def broken(_: Key) -> Any:
        raise SystemExit("no")

    inline.directory.register("broken", broken)
    with pytest.raises(Quarantined):
        inline.ask("x", Key("broken", "1"))
    assert inline.ask("fine") == "fine"


def test_failing_may_passivate_on_failure_and_on_stop_are_fenced(inline: World) -> None:
    class Broken(Probe):
        def may_passivate(self) -> bool:
            raise SystemExit("may")

        def on_failure(self, *_: Any) -> None:
            raise SystemExit("on_failure")

        def on_stop(self) -> None:
            raise SystemExit("on_stop")

    inline.directory.register("broken", lambda key: Broken(key, inline))
    key = Key("broken", "1")
    assert inline.ask("x", key) == "x"
    assert inline.directory.find(key).state is State.QUARANTINED
    assert inline.logged("actor failed in on_failure")
    assert inline.ask("fine") == "fine"


def test_a_failing_resumption_is_charged_to_the_message_that_parked(world: World) -> None:
    pending = Pending()

    def park(probe: Probe) -> Pending:
        probe.park()
        return pending

    probe = world.ask(lambda probe: probe)
    ask = world.directory.ask(A, park)
    behind = world.directory.ask(A, "behind")
    eventually(lambda: world.directory.find(A).state is State.PARKED)
    assert probe.resume(lambda: 1 / 0)
    with pytest.raises(ActorFailed, match="resumption of function"):
        ask.get(timeout=PATIENCE)
    assert behind.get(timeout=PATIENCE) == "behind"
    assert [letter.message for letter in world.letters] == [park]


def test_failing_after_park_unparks(world: World) -> None:
    def park_and_fail(probe: Probe) -> None:
        probe.park()
        raise ValueError

    old = world.ask(lambda probe: probe)
    with pytest.raises(ActorFailed):
        world.ask(park_and_fail)
    assert world.ask("next") == "next"
    assert not old.resume(lambda: pytest.fail("the commit of a replaced actor came through"))


def test_a_failing_sink_and_callback_are_fenced(inline: World) -> None:
    inline.supervisor._sink = lambda _: 1 / 0
    inline.supervisor._on_quarantine = lambda *_: 1 / 0
    for _ in range(BUDGET + 1):
        inline.tell(fails(ValueError()))
    assert inline.directory.find(A).state is State.QUARANTINED
    assert len(inline.logged("the supervisor's callback failed")) == BUDGET + 2


def test_an_error_that_cannot_be_shown_is_still_a_failure(world: World) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    world.tell(fails(Unspeakable()))
    world.settle()
    assert world.letters[0].error == "Unspeakable"


def test_the_log_names_the_type_of_a_message_and_never_its_content(world: World) -> None:
    class Secret(str):
        def __call__(self, _: Probe) -> None:
            raise ValueError("bad")

    world.tell(Secret("hunter2"))
    world.settle()
    [entry] = world.logged("actor failed")
    assert entry["message"] == "Secret"
    assert "hunter2" not in repr(entry)


# Memory of failures


def test_the_memory_of_failures_is_bounded_and_keeps_quarantines() -> None:
    supervisor = Supervisor()
    for _ in range(BUDGET + 1):
        verdict = supervisor.on_failure(A, "x", ValueError())
    assert verdict is Verdict.QUARANTINE
    for number in range(KEPT_RECORDS + 50):
        supervisor.count_restart(Key("probe", str(number)))
    assert len(supervisor._records) == KEPT_RECORDS
    assert supervisor.record(A).quarantined
    assert supervisor.record(Key("probe", "0")).restarts == 0
