"""Turns, activation, passivation and the end, on the pool and inline."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from typing import Any

import pykka
import pytest

from actors.base import MESSAGES_A_TURN, BaseActor
from actors.directory import Directory
from actors.futures import AskFuture, Pending
from actors.mailbox import State
from actors.messages import ActorTimeout, Dormant, Key, Lane, MailboxFull, Restarted, ShuttingDown
from actors.runtime import MOST_THREADS, PoolRuntime
from actors.supervisor import Supervisor
from platformd.errors import InvalidState, NotFound, Unavailable
from tests.actors.worlds import PATIENCE, A, B, Gate, Probe, World
from tests.support import eventually


def test_an_ask_is_answered_and_a_tell_is_heard(world: World) -> None:
    assert world.ask("hello") == "hello"
    world.tell("news")
    world.settle()
    assert world.heard == [(A, "hello"), (A, "news")]


def test_messages_of_a_lane_keep_their_order(world: World) -> None:
    for number in range(100):
        world.tell(number)
    world.settle()
    assert [message for _, message in world.heard] == list(range(100))


def test_a_queued_fact_overtakes_queued_commands(pool: World) -> None:
    gate = Gate()
    pool.tell(gate)
    gate.reached()
    pool.tell("command", lane=Lane.COMMAND)
    pool.tell("fact")
    gate.open()
    pool.settle()
    assert [message for _, message in pool.heard] == ["fact", "command"]


def test_a_busy_mailbox_lets_others_in_after_sixteen_messages(pool: World) -> None:
    pool.end()
    pool = World.pooled(pool.logs, threads=1)
    gate = Gate()
    pool.tell(gate)
    gate.reached()
    for number in range(MESSAGES_A_TURN * 2):
        pool.tell(number)
    pool.tell("other", B)
    gate.open()
    pool.settle()
    pool.end()
    assert pool.heard.index((B, "other")) == MESSAGES_A_TURN - 1, (
        "the gate was the first message of that turn"
    )


def test_what_a_turn_makes_ready_inline_comes_after_it(inline: World) -> None:
    def relay(probe: Probe) -> None:
        inline.tell("from a", B)
        probe.tell_self("to self")
        assert inline.heard == []

    inline.tell(relay)
    assert inline.heard == [(A, "to self"), (B, "from a")]


def test_actors_never_ask_actors(world: World) -> None:
    world.tell(lambda _: world.directory.ask(B, "x"))
    world.settle()
    assert [(letter.key, "never ask" in letter.error) for letter in world.letters] == [(A, True)]


def test_an_unknown_kind_is_named(world: World) -> None:
    with pytest.raises(ValueError, match=r"kind 'ghost'; there are \['probe'\]"):
        world.tell("x", Key("ghost", "1"))


def test_commands_beyond_the_capacity_are_refused_and_facts_are_not(pool: World) -> None:
    gate = Gate()
    pool.tell(gate)
    gate.reached()
    asks = [pool.directory.ask(A, number) for number in range(8)]
    with pytest.raises(MailboxFull) as refused:
        pool.directory.ask(A, "one more")
    with pytest.raises(MailboxFull):
        pool.tell("one more", lane=Lane.COMMAND)
    pool.tell("fact")
    gate.open()
    assert [ask.get(timeout=PATIENCE) for ask in asks] == list(range(8))
    assert (refused.value.status, refused.value.code, refused.value.retry_after) == (503, "MAILBOX_FULL", 1)


# Activation


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


# Answers


def test_a_platform_error_is_an_answer_and_the_actor_lives(world: World) -> None:
    def refuse(_: Probe) -> None:
        raise InvalidState("already cancelled")

    before = world.ask(lambda probe: probe)
    with pytest.raises(InvalidState, match="already cancelled"):
        world.ask(refuse)
    world.tell(refuse)
    world.settle()
    assert world.ask(lambda probe: probe) is before
    assert world.letters == []
    assert world.logged("actor refused a message")[0]["code"] == "INVALID_STATE"


def test_a_pending_answer_comes_when_it_is_settled(world: World) -> None:
    pending, failing = Pending(), Pending()
    good, bad = world.directory.ask(A, lambda _: pending), world.directory.ask(A, lambda _: failing)
    assert world.ask("the actor is free meanwhile") == "the actor is free meanwhile"
    assert not good.done()
    assert pending.resolve(42)
    assert failing.reject(InvalidState("lost the race"))
    assert good.get(timeout=PATIENCE) == 42
    with pytest.raises(InvalidState):
        bad.get(timeout=PATIENCE)
    assert not pending.resolve(43)


def test_a_pending_settled_before_it_is_returned_answers_at_once(world: World) -> None:
    def answer(_: Probe) -> Pending:
        pending = Pending()
        pending.resolve("early")
        return pending

    assert world.ask(answer) == "early"


def test_an_ask_given_up_before_its_turn_is_never_carried_out(pool: World) -> None:
    gate = Gate()
    pool.tell(gate)
    gate.reached()
    ask = pool.directory.ask(A, "late")
    with pytest.raises(ActorTimeout, match="withdrawn") as expired:
        ask.get(timeout=0.01)
    gate.open()
    pool.settle()
    assert pool.heard == []
    assert (expired.value.status, expired.value.code) == (503, "ACTOR_TIMEOUT")
    assert isinstance(expired.value, pykka.Timeout)


def test_an_ask_given_up_within_its_turn_says_that_it_may_be_carried_out(pool: World) -> None:
    gate = Gate()
    ask = pool.directory.ask(A, gate)
    gate.reached()
    with pytest.raises(ActorTimeout, match="may still be carried out"):
        ask.get(timeout=0.01)
    gate.open()
    assert ask.get(timeout=PATIENCE) == "through"


def test_a_failing_callback_of_an_answer_harms_nobody(world: World) -> None:
    ask = AskFuture()
    heard: list[object] = []
    ask.add_done_callback(lambda _: 1 / 0)
    ask.add_done_callback(heard.append)
    ask.resolve("x")
    assert heard == [ask]
    assert world.logged("a callback of an actor's answer failed")


# Parking


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


# Passivation


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


# The pool


def test_a_long_turn_is_logged_with_its_stack_and_a_spare_takes_over() -> None:
    """Both threads are held: the third message needs the spare, which leaves when nobody needs it."""
    logs: list[Any] = []
    world = World.pooled(logs, long_turn=0.2, spare_idle=0.2)
    gates = [Gate(), Gate()]
    import structlog

    with structlog.testing.capture_logs() as entries:
        for number, gate in enumerate(gates):
            world.tell(gate, Key("probe", str(number)))
            gate.reached()
        assert world.ask("through the spare", Key("probe", "free")) == "through the spare"
        reports = [entry for entry in entries if entry["event"] == "an actor's turn is long"]
    for gate in gates:
        gate.open()
    assert isinstance(world.runtime, PoolRuntime)
    runtime = world.runtime
    eventually(lambda: runtime.threads == 2)
    world.end()
    assert {entry["actor"] for entry in reports} <= {"probe:0", "probe:1"}
    assert "in __call__" in reports[0]["stack"], "the stack shows where the actor stands"
    assert reports[0]["seconds"] >= 0.2
    assert len(reports) == runtime.long_turns == 2


def test_there_are_never_more_than_eight_threads(no_leaks: None, logs: list[Any]) -> None:
    world = World.pooled(logs, long_turn=0.1, spare_idle=0.1)
    gates = [Gate() for _ in range(MOST_THREADS + 2)]
    for number, gate in enumerate(gates):
        world.tell(gate, Key("probe", str(number)))
    for gate in gates[:MOST_THREADS]:
        gate.reached()
    assert isinstance(world.runtime, PoolRuntime)
    assert world.runtime.threads == MOST_THREADS
    for gate in gates:
        gate.open()
    world.settle()
    runtime = world.runtime
    eventually(lambda: runtime.threads == 2)
    eventually(lambda: set(runtime._idle) == set(runtime._workers), timeout=2)
    world.end()


def test_the_look_survives_a_machine_without_another_thread(
    no_leaks: None, logs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.pooled(logs, long_turn=0.05)
    assert isinstance(world.runtime, PoolRuntime)
    runtime, gate = world.runtime, Gate()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails_to_start)
        world.tell(gate)
        gate.reached()
        eventually(lambda: world.logged("the look at the actors' threads failed"))
        assert runtime.threads == 2
    eventually(lambda: runtime.threads == 3)
    gate.open()
    world.end()


def fails_to_start(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_work_left_by_a_turn_that_then_stalls_is_taken_by_the_other_thread(
    no_leaks: None, logs: list[Any]
) -> None:
    pool = World.pooled(logs, long_turn=60.0)
    gate = Gate()

    def tell_and_stall(probe: Probe) -> None:
        pool.tell("for b", B)
        gate(probe)

    runtime = pool.runtime
    assert isinstance(runtime, PoolRuntime)
    eventually(lambda: len(runtime._idle) == 2)
    pool.tell(tell_and_stall)
    gate.reached()
    eventually(lambda: pool.heard == [(B, "for b")])
    gate.open()
    pool.end()


def test_what_becomes_ready_while_a_thread_lies_down_is_not_overlooked(
    pool: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread found nothing to do, then something came, then it entered itself among the sleepers."""
    runtime = pool.runtime
    assert isinstance(runtime, PoolRuntime)
    monkeypatch.setattr(runtime, "_look", lambda: None)
    eventually(lambda: len(runtime._idle) == 2)

    class Bed(list[Any]):
        def append(self, worker: Any) -> None:
            if not pool.heard:
                pool.tell("in between", B)
            super().append(worker)

    runtime._idle = Bed(runtime._idle)
    pool.tell(lambda _: None)
    eventually(lambda: pool.heard == [(B, "in between")], timeout=5)


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


# The end


def test_ten_thousand_actors_are_dropped_at_once(pool: World) -> None:
    for number in range(10_000):
        pool.tell(number, Key("probe", str(number)))
    pool.settle()
    ref = pool.ask(lambda probe: probe.actor_ref, Key("probe", "0"))
    assert pool.directory.count("probe") == 10_000
    pool.directory.drop()
    assert pool.directory.count() == 0
    assert not ref.is_alive()
    with pytest.raises(ShuttingDown):
        pool.tell("x")


def test_dropped_askers_are_told(pool: World) -> None:
    gate = Gate()
    pool.tell(gate)
    gate.reached()
    ask = pool.directory.ask(A, "queued")
    pool.directory.drop()
    gate.open()
    with pytest.raises(ShuttingDown):
        ask.get(timeout=PATIENCE)
    eventually(pool.runtime.quiet)
    assert (pool.heard, pool.letters) == ([], [])


def test_commands_are_refused_while_facts_pass(world: World) -> None:
    world.directory.refuse_commands(Unavailable("recovering", code="RECOVERING", retry_after=2))
    with pytest.raises(Unavailable) as refused:
        world.directory.ask(A, "x")
    with pytest.raises(Unavailable):
        world.tell("x", lane=Lane.COMMAND)
    world.tell("fact")
    world.settle()
    world.directory.accept_commands()
    assert world.ask("y") == "y"
    assert (refused.value.code, refused.value.retry_after) == ("RECOVERING", 2)
    assert world.heard == [(A, "fact"), (A, "y")]


def test_stop_says_when_a_turn_does_not_end(logs: list[Any]) -> None:
    world = World.pooled(logs)
    gate = Gate()
    world.tell(gate)
    gate.reached()
    assert isinstance(world.runtime, PoolRuntime)
    assert world.runtime.stop(timeout=0.05) is False
    gate.open()
    assert world.runtime.stop() is True


def test_a_page_of_actors_says_what_each_does(world: World) -> None:
    for name in "abc":
        world.ask(f"note of {name}", Key("probe", name))
    world.settle()
    page = world.directory.page("probe", offset=1, limit=1)
    assert [(row.key.id, row.state, row.facts, row.commands, row.about) for row in page] == [
        ("b", State.IDLE, 0, 0, {"notes": 1})
    ]
    assert world.directory.page("other") == []
    assert world.directory.find(Key("probe", "z")) is None


def test_a_description_that_fails_does_not_spoil_the_page(world: World) -> None:
    class Mute(BaseActor):
        def describe(self) -> dict[str, Any]:
            raise KeyError("x")

    world.directory.register("mute", Mute)
    world.directory.activate(Key("mute", "1"))
    world.settle()
    assert world.directory.page("mute")[0].about == {"error": "describe failed: KeyError"}


def test_a_factory_that_hands_out_the_same_actor_twice_is_caught(world: World) -> None:
    probe = world.ask(lambda probe: probe)
    world.directory.register("same", lambda _: probe)
    world.tell("x", Key("same", "1"))
    last = eventually(lambda: world.supervisor.record(Key("same", "1")).last)
    assert "must make a new actor" in last.error


def test_the_runtime_needs_a_directory() -> None:
    directory = Directory(PoolRuntime(), Supervisor())
    directory.drop()
    with pytest.raises(ShuttingDown):
        directory.activate(A)
