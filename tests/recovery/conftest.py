"""What recovery tests share: the real server of the end-to-end tests and their small app."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import common, data_dir, platform, server, tiny

__all__ = ["common", "data_dir", "platform", "server", "tiny"]


@pytest.fixture(scope="session")
def chatter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled `chatter.c`."""
    binary = tmp_path_factory.mktemp("apps") / "chatter"
    source = Path(__file__).parent / "apps" / "chatter.c"
    subprocess.run(["gcc", "-O2", "-static", "-o", binary, source], check=True)
    return binary
