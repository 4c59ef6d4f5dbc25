"""The directory: the list of actors, refusal of commands, and the end of everything."""

from __future__ import annotations

from typing import Any

import pytest

from actors.base import BaseActor
from actors.directory import Directory
from actors.mailbox import State
from actors.messages import Key, Lane, ShuttingDown
from actors.runtime import PoolRuntime
from actors.supervisor import Supervisor
from platformd.errors import Unavailable
from tests.actors.worlds import PATIENCE, A, Gate, World
from tests.support import eventually


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


def test_the_runtime_needs_a_directory() -> None:
    directory = Directory(PoolRuntime(), Supervisor())
    directory.drop()
    with pytest.raises(ShuttingDown):
        directory.activate(A)
