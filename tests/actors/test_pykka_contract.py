"""The facts about Pykka that the actors' runtime stands on. A new Pykka that breaks one fails the test naming it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import queue
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pykka
import pytest
from freezegun import freeze_time
from pykka import messages
from pykka._envelope import Envelope

from actors.base import BaseActor
from actors.futures import AskFuture
from tests.actors.worlds import A, Probe, World
from tests.support import eventually


class Plain(pykka.ThreadingActor):
    """An ordinary Pykka actor on a thread of its own."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        return message


@pytest.fixture(autouse=True)
def no_actors_left(no_leaks: None) -> Iterator[None]:
    yield
    pykka.ActorRegistry.stop_all(timeout=5)


def test_the_version_is_one_that_was_looked_at() -> None:
    major, minor = (int(part) for part in version("pykka").split(".")[:2])
    assert (4, 5) <= (major, minor) < (5, 0)


@pytest.mark.parametrize("hook", ["_create_actor_inbox", "_create_future"])
def test_inbox_and_future_come_from_static_hooks_without_arguments(hook: str) -> None:
    assert isinstance(inspect.getattr_static(pykka.ThreadingActor, hook), staticmethod)
    assert not inspect.signature(getattr(pykka.ThreadingActor, hook)).parameters


def test_the_loop_is_setup_then_running_then_teardown() -> None:
    called: list[str] = []

    class Traced(Plain):
        def _actor_loop_setup(self) -> None:
            called.append("setup")

        def _actor_loop_running(self) -> None:
            called.append("running")

        def _actor_loop_teardown(self) -> None:
            called.append("teardown")

    Traced()._actor_loop()
    assert called == ["setup", "running", "teardown"]


def test_start_registers_then_calls_start_actor_loop() -> None:
    registered: list[bool] = []

    class Unthreaded(Plain):
        def _start_actor_loop(self) -> None:
            registered.append(self.actor_ref in pykka.ActorRegistry.get_all())

    ref = Unthreaded.start()
    pykka.ActorRegistry.unregister(ref)
    assert registered == [True]


def test_a_plain_actor_costs_a_thread() -> None:
    before = threading.active_count()
    ref = Plain.start()
    assert threading.active_count() == before + 1
    ref.stop(timeout=5)


def test_the_registry_is_a_list() -> None:
    assert isinstance(pykka.ActorRegistry._actor_refs, list)


def test_our_actors_are_real_pykka_actors_and_not_in_the_registry(inline: World) -> None:
    actor = inline.ask(lambda probe: probe)
    assert isinstance(actor, pykka.ThreadingActor)
    assert isinstance(actor.actor_ref, pykka.ActorRef)
    assert actor.actor_ref not in pykka.ActorRegistry.get_all()


def test_the_inbox_is_made_in_the_constructor_and_copied_into_the_ref() -> None:
    actor = Plain()
    assert actor.actor_ref.actor_inbox is actor.actor_inbox
    actor.actor_inbox = queue.Queue()
    assert actor.actor_ref.actor_inbox is not actor.actor_inbox


def test_the_ref_holds_the_actor_weakly() -> None:
    actor = Plain()
    ref = actor.actor_ref
    assert ref._actor_weakref() is actor
    del actor
    gc.collect()
    assert ref._actor_weakref() is None


def test_an_envelope_is_a_message_and_whom_to_reply_to() -> None:
    future = AskFuture()
    envelope = Envelope("hello", reply_to=future)
    assert (envelope.message, envelope.reply_to) == ("hello", future)
    assert Envelope("hello").reply_to is None


def test_the_future_of_an_ask_is_created_in_the_askers_thread() -> None:
    created_in: list[threading.Thread] = []

    class Noting(Plain):
        @staticmethod
        def _create_future() -> pykka.Future[Any]:
            created_in.append(threading.current_thread())
            return pykka.ThreadingFuture()

    ref = Noting.start()
    ref.ask("x", timeout=5)
    assert created_in == [threading.current_thread()]


def test_awaiting_a_future_blocks_the_loop_in_get() -> None:
    got: list[str] = []

    class Future(pykka.ThreadingFuture[str]):
        def get(self, *, timeout: float | None = None) -> Any:
            got.append(f"get in {'a' if asyncio.get_running_loop() else 'no'} loop, timeout {timeout}")

    async def wait() -> None:
        await Future()

    asyncio.run(wait())
    assert got == ["get in a loop, timeout None"]


def test_a_future_is_settled_once_and_then_raises_full() -> None:
    future: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    future.set(1)
    with pytest.raises(queue.Full):
        future.set(2)
    with pytest.raises(queue.Full):
        future.set_exception((ValueError, ValueError(), None))


def test_a_future_keeps_its_result_under_a_reentrant_condition() -> None:
    future: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    assert future._result is None
    with future._condition, future._condition:
        future.set(1)
    assert future._result is not None


def test_a_derived_future_is_made_of_the_same_class() -> None:
    future = AskFuture()
    future.set(2)
    assert isinstance(doubled := future.map(lambda n: n * 2), AskFuture)
    assert doubled.get(timeout=1) == 4


def test_waiting_ends_under_a_frozen_clock_when_pykka_is_exempt() -> None:
    """Without the exemption in conftest its deadline never comes and `get` waits for ever."""
    with freeze_time("2030-01-01"):
        begun = time.perf_counter_ns()
        with pytest.raises(pykka.Timeout):
            pykka.ThreadingFuture[int]().get(timeout=0.01)
        assert time.perf_counter_ns() == begun, "the clock is not frozen: this test shows nothing"


def test_an_exception_in_an_ask_goes_to_the_asker_and_the_actor_lives() -> None:
    ref = Plain.start()
    with pytest.raises(ValueError, match="bad"):
        ref.ask(ValueError("bad"), timeout=5)
    assert ref.ask("still here", timeout=5) == "still here"


def test_an_exception_in_a_tell_kills_the_actor() -> None:
    ref = Plain.start()
    ref.tell(ValueError("bad"))
    eventually(lambda: not ref.is_alive())


def test_a_base_exception_stops_every_actor_of_the_process() -> None:
    ref, bystander = Plain.start(), Plain.start()
    ref.tell(SystemExit("bad"))
    eventually(lambda: not bystander.is_alive())


def test_a_base_exception_in_on_start_leaves_a_zombie() -> None:
    class Zombie(Plain):
        def on_start(self) -> None:
            raise SystemExit("bad")

    zombie = Zombie()
    with pytest.raises(SystemExit):
        zombie._actor_loop()
    assert zombie.actor_ref.is_alive()


def test_a_reply_can_be_lost_when_an_ask_races_a_stop() -> None:
    """The asker looks at the stopped flag, the actor stops and empties its inbox, the asker puts: nobody answers."""
    actor = Plain()
    ref = actor.actor_ref
    future = AskFuture()
    ref.tell(messages._ActorStop())
    actor._actor_loop()
    ref.actor_inbox.put(Envelope("too late", reply_to=future))
    assert not future.done()


def test_messages_are_dispatched_by_handle_receive(inline: World) -> None:
    ref: pykka.ActorRef[Probe] = inline.ask(lambda probe: probe.actor_ref)
    assert ref.ask(messages.ProxyGetAttr(("key",)), timeout=5) == A
    assert ref.proxy().key.get(timeout=5) == A
    assert ref.ask("plain", timeout=5) == "plain"


def test_stop_is_a_message_that_calls_stop(inline: World) -> None:
    ref: pykka.ActorRef[Probe] = inline.ask(lambda probe: probe.actor_ref)
    assert ref.stop(timeout=5) is True
    assert not ref.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("too late")


def test_hooks_we_override_exist_with_these_parameters() -> None:
    expected = {
        "on_start": [], "on_stop": [], "on_receive": ["message"], "_stop": [],
        "on_failure": ["exception_type", "exception_value", "traceback"],
        "_handle_receive": ["message"], "_start_actor_loop": [], "_actor_loop_setup": [],
        "_actor_loop_running": [], "_actor_loop_teardown": [],
    }  # fmt: skip
    for name, parameters in expected.items():
        assert list(inspect.signature(getattr(pykka.Actor, name)).parameters)[1:] == parameters, name


def test_an_actor_cannot_be_made_outside_the_directory() -> None:
    with pytest.raises(RuntimeError, match="made by the directory"):
        BaseActor.start(A)
