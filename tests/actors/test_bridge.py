"""Asking from asyncio: answers, errors, time-outs, cancellation, and a loop that is never blocked."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
import uvloop

from actors.bridge import Bridge
from actors.futures import Pending
from actors.messages import ActorFailed, ActorTimeout, Key, MailboxFull
from platformd.errors import InvalidState
from tests.actors.worlds import PATIENCE, A, B, Gate, World, fails
from tests.support import eventually


@pytest.fixture(scope="module", autouse=True)
def libuv_pipe() -> None:
    """The first loop of uvloop opens a pipe that libuv keeps for good: no leak of ours."""
    uvloop.new_event_loop().close()


@pytest.fixture
def bridge(pool: World) -> Bridge:
    return Bridge(pool.directory)


async def test_the_answer_comes_back(bridge: Bridge) -> None:
    assert await bridge.ask_async(A, "hello") == "hello"


async def test_errors_come_back_as_they_were_raised(bridge: Bridge) -> None:
    with pytest.raises(InvalidState, match="no"):
        await bridge.ask_async(A, fails(InvalidState("no")))
    with pytest.raises(ActorFailed):
        await bridge.ask_async(A, fails(SystemExit()))


@pytest.mark.parametrize("odd", [StopIteration("x"), SystemExit("x"), asyncio.CancelledError("x")], ids=repr)
async def test_an_answer_that_asyncio_would_choke_on_is_a_failure(bridge: Bridge, odd: BaseException) -> None:
    pending = Pending()
    pending.reject(odd)
    with pytest.raises(ActorFailed, match=type(odd).__name__):
        await bridge.ask_async(A, lambda _: pending)


async def test_the_loop_runs_on_while_an_actor_is_slow(bridge: Bridge) -> None:
    gate = Gate()
    slow = asyncio.ensure_future(bridge.ask_async(A, gate))
    assert await bridge.ask_async(B, "quick") == "quick"
    assert not slow.done()
    gate.open()
    assert await slow == "through"


async def test_a_thousand_waiting_asks_cost_no_thread(bridge: Bridge, pool: World) -> None:
    pendings = [Pending() for _ in range(1000)]
    before = threading.active_count()
    asks = [
        asyncio.ensure_future(bridge.ask_async(Key("probe", str(number)), lambda _, p=pending: p))
        for number, pending in enumerate(pendings)
    ]
    await asyncio.sleep(0)
    await asyncio.to_thread(pool.settle)
    assert threading.active_count() <= before + 1, "to_thread's own"
    for number, pending in enumerate(pendings):
        pending.resolve(number)
    assert await asyncio.gather(*asks) == list(range(1000))
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_a_time_out_before_the_turn_withdraws_the_ask(bridge: Bridge, pool: World) -> None:
    gate = Gate()
    pool.tell(gate)
    gate.reached()
    with pytest.raises(ActorTimeout, match=r"within 0\.01 s; it was withdrawn"):
        await bridge.ask_async(A, "late", timeout=0.01)
    gate.open()
    assert await bridge.ask_async(A, "next") == "next"
    assert pool.heard == [(A, "next")]


async def test_a_time_out_within_the_turn_drops_the_late_answer(bridge: Bridge) -> None:
    troubles: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, trouble: troubles.append(trouble))
    gate = Gate()
    with pytest.raises(ActorTimeout, match="may still be carried out"):
        await bridge.ask_async(A, gate, timeout=0.05)
    gate.reached().open()
    assert await bridge.ask_async(A, "next") == "next"
    assert troubles == []


async def test_a_cancelled_caller_withdraws_the_ask(bridge: Bridge, pool: World) -> None:
    gate = Gate()
    pool.tell(gate)
    gate.reached()
    ask = asyncio.ensure_future(bridge.ask_async(A, "unwanted"))
    await asyncio.sleep(0)
    ask.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ask
    gate.open()
    assert await bridge.ask_async(A, "next") == "next"
    assert pool.heard == [(A, "next")]


async def test_a_caller_cancelled_within_the_turn_harms_nobody(bridge: Bridge, pool: World) -> None:
    gate = Gate()
    ask = asyncio.ensure_future(bridge.ask_async(A, gate))
    await asyncio.sleep(0)
    gate.reached()
    ask.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ask
    gate.open()
    assert await bridge.ask_async(A, "next") == "next"
    assert pool.logs == []


async def test_a_refusal_is_raised_at_once(bridge: Bridge, pool: World) -> None:
    gate = Gate()
    pool.tell(gate)
    gate.reached()
    asks = [asyncio.ensure_future(bridge.ask_async(A, number)) for number in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(MailboxFull):
        await bridge.ask_async(A, "one more")
    gate.open()
    assert await asyncio.gather(*asks) == list(range(8))


def test_an_answer_after_the_loop_has_gone_is_dropped(bridge: Bridge, pool: World) -> None:
    pending = Pending()

    async def leave() -> None:
        ask = asyncio.ensure_future(bridge.ask_async(A, lambda _: pending))
        await asyncio.sleep(0)
        ask.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ask

    asyncio.run(leave())
    pool.settle()
    assert pending.resolve("too late")
    assert pool.logs == []


def test_it_works_on_uvloop(bridge: Bridge) -> None:
    async def ask() -> list[object]:
        return await asyncio.gather(*(bridge.ask_async(Key("probe", str(n)), n) for n in range(100)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(ask()) == list(range(100))


async def test_inline_it_answers_without_any_thread(inline: World) -> None:
    assert await Bridge(inline.directory).ask_async(A, "hello") == "hello"


async def test_the_answer_of_a_parked_actor_comes_with_its_commit(bridge: Bridge, pool: World) -> None:
    pending = Pending()

    def park(probe: object) -> Pending:
        probe.park()  # type: ignore[attr-defined]
        return pending

    probe = await bridge.ask_async(A, lambda probe: probe)
    ask = asyncio.ensure_future(bridge.ask_async(A, park, timeout=PATIENCE))
    await asyncio.sleep(0)
    await asyncio.to_thread(eventually, lambda: pool.directory.find(A).parked_since)
    writer = threading.Thread(target=probe.resume, args=(lambda: pending.resolve("stored"),))
    writer.start()
    assert await ask == "stored"
    writer.join()
    await asyncio.get_running_loop().shutdown_default_executor()
