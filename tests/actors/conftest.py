"""Worlds of actors for the tests: a pool of threads, or everything inline."""

from __future__ import annotations

from collections.abc import Iterator

import freezegun
import pytest
import structlog

from platformd import clock
from tests.actors.stage import START, Stage
from tests.actors.worlds import World

# Under a frozen clock a Pykka future would wait for ever: its deadline would never come.
freezegun.configure(extend_ignore_list=["pykka"])


@pytest.fixture
def logs() -> Iterator[list[structlog.typing.EventDict]]:
    """What is logged during the test, whatever level other tests have set."""
    before = structlog.get_config()
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as entries:
        yield entries
    structlog.configure(**before)


@pytest.fixture
def pool(no_leaks: None, logs: list[structlog.typing.EventDict]) -> Iterator[World]:
    world = World.pooled(logs)
    yield world
    world.end()


@pytest.fixture
def inline(logs: list[structlog.typing.EventDict]) -> Iterator[World]:
    world = World.inline(logs)
    yield world
    world.end()


@pytest.fixture(params=["pool", "inline"])
def world(request: pytest.FixtureRequest) -> World:
    """Each test that asks for it runs on both runtimes."""
    chosen: World = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def stage(logs: list[structlog.typing.EventDict], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Deployments and tasks in a world where time stands still; the boot clock reads what the wall clock does."""
    with freezegun.freeze_time(START, real_asyncio=True) as frozen:
        monkeypatch.setattr(clock, "boot_ns", lambda: round(clock.now().timestamp() * 1e6) * 1000)
        stage = Stage(frozen)
        yield stage
        stage.end()
