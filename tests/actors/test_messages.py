"""Messages and their answers, on the pool and inline."""

from __future__ import annotations

import pykka
import pytest

from actors.base import MESSAGES_A_TURN
from actors.futures import AskFuture, Pending
from actors.messages import ActorTimeout, Key, Lane, MailboxFull
from platformd.errors import InvalidState
from tests.actors.worlds import PATIENCE, A, B, Gate, Probe, World


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
