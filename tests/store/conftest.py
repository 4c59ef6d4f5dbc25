"""Stores to test: the one on disk and the one in memory, under one contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from platformd.store import MemoryStore, Store


class Heard:
    """What a store's post-commit callback was told."""

    def __init__(self) -> None:
        self.types: list[str] = []
        self.ids: list[int] = []
        self.revisions: list[tuple[tuple[str, str], int]] = []

    def __call__(self, events, revisions) -> None:
        self.types += [event.notice.type for event in events]
        self.ids += [event.id for event in events]
        self.revisions += revisions.items()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, heard: Heard, no_leaks: None) -> Iterator[Store]:
    store = Store.open(tmp_path, heard) if request.param == "file" else MemoryStore(heard)
    yield store
    store.close()


@pytest.fixture
def file_store(tmp_path: Path, heard: Heard, no_leaks: None) -> Iterator[Store]:
    store = Store.open(tmp_path, heard)
    yield store
    store.close()


@pytest.fixture
def memory_store(heard: Heard) -> Iterator[MemoryStore]:
    store = MemoryStore(heard)
    yield store
    store.close()
