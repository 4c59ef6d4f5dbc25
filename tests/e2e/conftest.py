"""The servers and the test programs that the end-to-end tests share."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.platform import Platform

APPS = Path(__file__).parent / "apps"
TASK_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled `tiny.c`."""
    return _compiled("tiny", tmp_path_factory)


@pytest.fixture(scope="session")
def brood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled `brood.c`."""
    return _compiled("brood", tmp_path_factory)


def _compiled(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("apps") / name
    subprocess.run(["gcc", "-O2", "-static", "-o", binary, APPS / f"{name}.c"], check=True)
    return binary


@pytest.fixture(scope="session")
def rich() -> Path:
    """`rich.py`, where the tasks' PATH has a Python for it."""
    if shutil.which("python3", path=TASK_PATH) is None:
        pytest.skip(f"no python3 in {TASK_PATH}")
    return APPS / "rich.py"


def open_folder() -> Path:
    """A new folder that tasks, whoever they run as, can reach and write to. Not one of pytest's: a second run of
    pytest closes those of the first to other users."""
    root = Path(tempfile.mkdtemp(prefix="platformd-"))
    root.chmod(0o777)
    return root


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that tasks, whoever they run as, and the test both may use."""
    root = open_folder()
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that tasks can reach into, gone afterwards."""
    root = open_folder()
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


@pytest.fixture(scope="module")
def server() -> Iterator[Platform]:
    """A running server that the tests of one module share; none of them ends it."""
    root = open_folder()
    running = Platform(root / "data")
    try:
        yield running.start()
    finally:
        running.destroy()
        shutil.rmtree(root, ignore_errors=True)
