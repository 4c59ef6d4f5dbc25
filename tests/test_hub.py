"""Notices to subscribers, long polls, log followers."""

from __future__ import annotations

import asyncio
import threading

import pytest

from platformd import hub as hub_module
from platformd.hub import Filter, Hub, Notice, Overrun


def notice(n: int = 0, **rest) -> Notice:
    return Notice(
        **{"kind": "deployment", "type": f"deployment.{n}", "app_id": "app", "deployment_id": "d", **rest}
    )


@pytest.fixture
async def hub():
    hub = Hub(asyncio.get_running_loop(), ring=5)
    yield hub
    hub.close()


async def settled() -> None:
    """Until what other threads asked of the loop has been done."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon_threadsafe(done.set)
    await done.wait()


async def types(subscription, count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [(await anext(subscription)).notice.type for _ in range(count)]


async def test_notices_reach_subscribers_in_order_with_rising_ids(hub):
    subscription = hub.subscribe()
    first = hub.last_id
    publisher = threading.Thread(target=lambda: [hub.publish([notice(n), notice(n + 1)]) for n in (0, 2)])
    publisher.start()
    async with asyncio.timeout(10):
        events = [await anext(subscription) for _ in range(4)]
    publisher.join()
    assert [event.notice.type for event in events] == [f"deployment.{n}" for n in range(4)]
    ids = [first, *(event.id for event in events)]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("filter", "wanted"),
    [
        (Filter(), True),
        (Filter(app_id="app"), True),
        (Filter(app_id="other"), False),
        (Filter(deployment_id="d", kinds=frozenset({"deployment"})), True),
        (Filter(deployment_id="e"), False),
        (Filter(kinds=frozenset({"task"})), False),
        (Filter(types=frozenset({"deployment.ready"})), True),
        (Filter(types=frozenset({"deployment."})), True),
        (Filter(types=frozenset({"deployment", "task."})), False),
    ],
)
async def test_filters(filter, wanted):
    assert filter.wants(notice(type="deployment.ready")) is wanted


async def test_resuming_by_id_repeats_nothing_and_says_what_is_gone(hub):
    start = hub.last_id
    live = hub.subscribe()
    hub.publish([notice(n) for n in range(5)])
    await settled()
    ids = [(await anext(live)).id for _ in range(5)]
    resumed = hub.subscribe(after=ids[1])
    assert (await types(resumed, 3), resumed.missed) == (
        ["deployment.2", "deployment.3", "deployment.4"],
        False,
    )
    assert not hub.subscribe(after=start).missed
    hub.publish([notice(5)])
    await settled()
    assert hub.subscribe(after=start).missed
    assert not hub.subscribe(after=ids[0]).missed
    assert hub.subscribe(after=start - 1_000_000).missed  # of an earlier process
    assert not hub.subscribe(after=hub.last_id).missed


async def test_a_slow_subscriber_loses_its_place_and_nobody_elses(monkeypatch, hub):
    monkeypatch.setattr(hub_module, "BUFFER", 3)
    slow, quick = hub.subscribe(), hub.subscribe()
    for n in range(6):
        hub.publish([notice(n)])
        await settled()
        assert await types(quick, 1) == [f"deployment.{n}"]
    events = []
    with pytest.raises(Overrun) as caught:
        async for event in slow:
            events.append(event)
    assert [event.notice.type for event in events] == ["deployment.0", "deployment.1", "deployment.2"]
    assert caught.value.resume_after == events[-1].id
    assert await types(hub.subscribe(after=caught.value.resume_after), 3) == [
        f"deployment.{n}" for n in (3, 4, 5)
    ]


async def test_closing_ends_subscriptions_after_what_they_still_have(hub):
    subscription = hub.subscribe()
    hub.publish([notice(1)])
    await settled()
    waiting = asyncio.create_task(hub.wait_revision("deployment", "d", 1, 30))
    await asyncio.sleep(0)
    hub.close()
    assert [event.notice.type async for event in subscription] == ["deployment.1"]
    assert await waiting is False
    assert await hub.wait_revision("deployment", "d", 1, 30) is False
    assert [event async for event in hub.subscribe()] == []


async def test_a_long_poll_returns_when_the_revision_is_above(hub):
    waits = [asyncio.create_task(hub.wait_revision("deployment", "d", above, 30)) for above in (1, 2)]
    await asyncio.sleep(0)
    threading.Thread(target=hub.publish, args=([], {("deployment", "d"): 2, ("task", "d"): 9})).start()
    async with asyncio.timeout(10):
        assert await waits[0] is True
    assert not waits[1].done()
    hub.publish([], {("deployment", "d"): 3})
    async with asyncio.timeout(10):
        assert await waits[1] is True


async def test_waits_end_without_news_and_leave_nothing(hub):
    assert await hub.wait_revision("deployment", "d", 1, 0.01) is False
    assert await hub.wait_lines("d", 1, 0.01) is False
    cancelled = asyncio.create_task(hub.wait_lines("d", 1, 30))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert not hub._revision_waits
    assert not hub._line_waits


async def test_new_lines_wake_followers(hub):
    waiting = asyncio.create_task(hub.wait_lines("d", 10, 30))
    await asyncio.sleep(0)
    hub.lines({"d": 10, "e": 99})
    await settled()
    assert not waiting.done()
    hub.lines({"d": 11})
    async with asyncio.timeout(10):
        assert await waiting is True


def test_publishing_after_the_loop_is_gone_is_harmless():
    loop = asyncio.new_event_loop()
    hub = Hub(loop)
    loop.close()
    hub.publish([notice()])
    hub.lines({"d": 1})
