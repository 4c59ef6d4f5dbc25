"""The threads of the pool: long turns, spares, wake-ups that must not be lost, the end."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import structlog

from actors.messages import Key
from actors.runtime import MOST_THREADS, PoolRuntime
from tests.actors.worlds import PATIENCE, B, Gate, Probe, World
from tests.support import eventually


def test_a_long_turn_is_logged_with_its_stack_and_a_spare_takes_over() -> None:
    """Both threads are held: the third message needs the spare, which leaves when nobody needs it."""
    logs: list[Any] = []
    world = World.pooled(logs, long_turn=0.2, spare_idle=0.2)
    gates = [Gate(), Gate()]
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


def test_a_look_under_way_at_the_end_hires_nobody(no_leaks: None, logs: list[Any]) -> None:
    """What it would hire leaves at once: it would hire for ever."""
    world = World.pooled(logs, long_turn=0.0)
    gate = Gate()
    world.tell(gate)
    gate.reached()
    runtime = world.runtime
    assert isinstance(runtime, PoolRuntime)
    runtime._stopping.set()
    runtime._look()
    look = threading.Thread(target=runtime._look, daemon=True)
    look.start()
    look.join(PATIENCE)
    assert not look.is_alive()
    gate.open()
    world.end()


def test_stop_says_when_a_turn_does_not_end(logs: list[Any]) -> None:
    world = World.pooled(logs)
    gate = Gate()
    world.tell(gate)
    gate.reached()
    assert isinstance(world.runtime, PoolRuntime)
    assert world.runtime.stop(timeout=0.05) is False
    gate.open()
    assert world.runtime.stop() is True
