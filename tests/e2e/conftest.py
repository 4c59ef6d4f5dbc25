"""The server and the test programs that the end-to-end tests share."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.platform import Platform

APPS = Path(__file__).parent / "apps"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled `tiny.c`."""
    binary = tmp_path_factory.mktemp("apps") / "tiny"
    subprocess.run(["gcc", "-O2", "-static", "-o", binary, APPS / "tiny.c"], check=True)
    return binary


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory that uid 65534 can reach into, gone afterwards."""
    root = tmp_path_factory.mktemp("platform")
    for folder in (root, *root.parents[:2]):
        folder.chmod(0o755)
    yield root / "data"
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def platform(data_dir: Path) -> Iterator[Platform]:
    """A running server of its own."""
    server = Platform(data_dir)
    try:
        yield server.start()
    finally:
        server.destroy()
