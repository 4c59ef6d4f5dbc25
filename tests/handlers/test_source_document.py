"""The source document's examples against the API with scripted actors; end to end they run against the whole."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from platformd.domain.deployment.state import Phase, Status
from tests.handlers.served import SCRIPT, Running, Served
from tests.source_document import (  # noqa: F401 - pytest collects them here
    CREATE_DOCKER,
    Shell,
    deployed,
    shell,
    test_cancel,
    test_create_a_tish_deployment,
    test_list_all,
    test_logs,
    test_poll_until_running,
    test_promote,
    test_scale,
    test_stream,
)

T = TypeVar("T")


@dataclass
class Background:
    """A served API on a loop of its own thread, so that a test may block."""

    served: Served
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)


@pytest.fixture
def background(no_leaks: None, tmp_path: Path) -> Iterator[Background]:
    started: list[Background] = []
    ready = threading.Event()
    stop: list[asyncio.Event] = []

    async def serve() -> None:
        async with Running(tmp_path) as served:
            started.append(Background(served, asyncio.get_running_loop()))
            stop.append(asyncio.Event())
            ready.set()
            await stop[0].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    yield started[0]
    started[0].loop.call_soon_threadsafe(stop[0].set)
    thread.join(10)


@pytest.fixture
def platform_url(background: Background) -> str:
    return f"http://127.0.0.1:{background.served.client.port}"


@pytest.fixture
def app_name() -> str:
    return "my-api"


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    path = tmp_path / "server"
    path.write_bytes(SCRIPT)
    return path


@pytest.fixture
def become_running(background: Background) -> Callable[[str], None]:
    def run(deployment_id: str) -> None:
        background.run(background.served.change(deployment_id, status=Status.RUNNING, phase=Phase.READY))

    return run


@pytest.fixture
def write_line(background: Background) -> Callable[[str], str]:
    async def write(deployment_id: str) -> str:
        background.served.lines(deployment_id).write("listening")
        return "listening"

    return lambda deployment_id: background.run(write(deployment_id))


def test_an_image_is_deployed(shell: Shell) -> None:  # noqa: F811 - the fixture
    assert (
        shell.run(CREATE_DOCKER, "[.status, .spec.image] | @csv") == '"pending","ghcr.io/myorg/my-api:latest"'
    )
