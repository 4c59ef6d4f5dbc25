"""A served API for each test that names `api`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.handlers.served import Running, Served


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Served]:
    async with Running(tmp_path) as served:
        yield served
