"""Servers for the tests of commands: one that a module shares, and one of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from platformd.cli.local import temporary_folder
from tests.cli.commands import Commands
from tests.e2e.conftest import platform, tiny
from tests.e2e.platform import Platform

__all__ = ["data_dir", "platform", "shared", "tiny"]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not below pytest's own folder, which each session that starts closes to other accounts again."""
    with temporary_folder("test") as folder:
        yield folder / "data"


@pytest.fixture(scope="module")
def shared() -> Iterator[Commands]:
    """Commands against a running server; each test makes apps of its own."""
    with temporary_folder("test") as folder:
        server = Platform(folder / "data")
        try:
            server.start()
            yield Commands(server)
        finally:
            server.destroy()
