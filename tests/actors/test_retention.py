"""When what is old is forgotten, and that one failure does not keep the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from actors import retention
from actors.retention import Expiring, Retention, of_rows
from platformd.domain.deployment.state import Goal, Phase, Status
from platformd.domain.operations import CreateApp, CreateDeployment, SaveDeployment
from platformd.domain.requests import RequestKey
from platformd.domain.retries import KeepAnswer, KeptAnswer
from platformd.domain.spec import DeploymentSpec
from platformd.errors import NoSpace
from platformd.store import MemoryStore

AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    yield store
    store.close()


class Pile:
    """So many things, of which at most `portion` go at once."""

    def __init__(self, count: int, portion: int = 2) -> None:
        self.count, self.portion = count, portion
        self.asked: list[datetime] = []

    def forget(self, now: datetime) -> int:
        self.asked.append(now)
        gone = min(self.portion, self.count)
        self.count -= gone
        return gone


def test_portion_by_portion_until_nothing_is_left() -> None:
    pile = Pile(5)
    assert Retention([Expiring("things", pile.forget)]).run(AT) == {"things": 5}
    assert pile.asked == [AT] * 4


def test_what_fails_does_not_keep_the_rest_and_is_tried_again() -> None:
    full, pile = True, Pile(1)

    def failing(now: datetime) -> int:
        if full:
            raise NoSpace("the disk is full")
        return 0

    kinds = Retention([Expiring("failing", failing), Expiring("things", pile.forget)])
    assert kinds.run(AT) == {"things": 1}
    full = False
    assert kinds.run(AT) == {}


async def test_soon_after_the_start_then_every_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FIRST_SECS", 0.01)
    monkeypatch.setattr(retention, "EVERY_SECS", 0.01)
    loop, rounds = asyncio.get_running_loop(), asyncio.Semaphore(0)

    def forget(now: datetime) -> int:
        loop.call_soon_threadsafe(rounds.release)
        return 0

    watching = asyncio.create_task(Retention([Expiring("things", forget)]).watch())
    async with asyncio.timeout(10):
        for _ in range(3):
            await rounds.acquire()
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_a_server_that_stops_waits_for_one_portion_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FIRST_SECS", 0.0)
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(now: datetime) -> int:
        loop.call_soon_threadsafe(begun.set)
        return 1

    watching = asyncio.create_task(Retention([Expiring("things", endless)]).watch())
    await begun.wait()
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    await asyncio.wait_for(loop.shutdown_default_executor(), 10)


def test_rows_are_kept_as_long_as_they_should_be(store: MemoryStore) -> None:
    app = store.commit(CreateApp(name="web", domain="localhost", at=AT)).result()
    made = store.commit(
        CreateDeployment(
            app_id=app.id,
            environment="development",
            spec=DeploymentSpec(image="nginx"),
            domain="localhost",
            at=AT,
            steady=AT,
        )
    ).result()
    over = replace(made, status=Status.FAILED, phase=Phase.DONE, goal=Goal.FINISHED, revision=2)
    store.commit(SaveDeployment(over)).result()
    answer = KeepAnswer(key=RequestKey("key", "print"), answer=KeptAnswer(200), at=AT)
    store.commit(answer).result()
    heard: list[tuple[list[str], tuple[str, ...]]] = []
    kinds = Retention(of_rows(store, 10, lambda ids, hostnames: heard.append((ids, hostnames))))

    assert kinds.run(AT + timedelta(hours=23)) == {}
    assert kinds.run(AT + timedelta(hours=24)) == {"answers": 1}
    assert kinds.run(AT + timedelta(days=30)) == {}
    assert kinds.run(AT + timedelta(days=30, seconds=1)) == {"deployments": 1}
    assert heard == [([made.id], (made.identity.preview_host,))]
    assert kinds.run(AT + timedelta(days=60)) == {}
