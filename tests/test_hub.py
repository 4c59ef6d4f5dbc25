"""Long polls, followers of events and of log lines."""

from __future__ import annotations

import asyncio
import threading

import pytest

from platformd import clock
from platformd.domain.notice import Notice
from platformd.hub import Event, Filter, Hub


def notice(n: int = 0, **rest) -> Notice:
    return Notice(
        **{"kind": "deployment", "type": f"deployment.{n}", "app_id": "app", "deployment_id": "d", **rest}
    )


@pytest.fixture
async def hub():
    hub = Hub(asyncio.get_running_loop())
    yield hub
    hub.close()


async def settled() -> None:
    """Until what other threads asked of the loop has been done."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon_threadsafe(done.set)
    await done.wait()


def event(id: int, **rest) -> Event:
    return Event(id, clock.now(), notice(**rest))


@pytest.mark.parametrize(
    ("filter", "wanted"),
    [
        (Filter(), True),
        (Filter(app_id="app"), True),
        (Filter(app_id="other"), False),
        (Filter(deployment_id="d", types=frozenset({"deployment."})), True),
        (Filter(deployment_id="e"), False),
        (Filter(types=frozenset()), False),
        (Filter(types=frozenset({"deployment.ready"})), True),
        (Filter(types=frozenset({"deployment."})), True),
        (Filter(types=frozenset({"deployment", "task."})), False),
    ],
)
async def test_filters(filter, wanted):
    assert filter.wants(notice(type="deployment.ready")) is wanted


async def test_an_event_wakes_those_who_want_it(hub):
    mine = asyncio.create_task(hub.wait_event(Filter(deployment_id="d"), 10, 30))
    others = asyncio.create_task(hub.wait_event(Filter(deployment_id="e"), 10, 30))
    await asyncio.sleep(0)
    hub.publish([event(10), event(12, deployment_id="f")])
    await settled()
    assert hub.last_id == 12
    assert not mine.done()
    hub.publish([event(13)])
    async with asyncio.timeout(10):
        assert await mine is True
    assert not others.done()
    hub.close()
    assert await others is False
    assert not hub._event_waits


async def test_closing_ends_every_wait(hub):
    waiting = asyncio.create_task(hub.wait_revision("deployment", "d", 1, 30))
    await asyncio.sleep(0)
    hub.close()
    assert await waiting is False
    assert await hub.wait_revision("deployment", "d", 1, 30) is False


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
    hub.publish([event(1)])
    hub.lines({"d": 1})
