"""Fixtures: a gateway per test, and apps that end with it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway.harness import App, Gateway, answering, say

HELLO = say()


@pytest.fixture
def gateway(tmp_path: Path, no_leaks: None) -> Iterator[Gateway]:
    process = Gateway(tmp_path)
    try:
        yield process
    finally:
        process.stop()
    assert "Traceback" not in process.log(), process.log()


@pytest.fixture
def app(no_leaks: None) -> Iterator[Callable[..., App]]:
    """Makes apps: by the bytes they answer, or by a handler."""
    made: list[App] = []

    def make(
        answer: bytes | Callable[[App, socket.socket, bytes, bytes], bool] = HELLO, backlog: int = 1024
    ) -> App:
        made.append(App(answering(answer) if isinstance(answer, bytes) else answer, backlog))
        return made[-1]

    yield make
    for one in made:
        one.stop()
