"""A keeper for each test, in a data directory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.keeper.rig import Rig


@pytest.fixture
def rig(no_leaks: None, tmp_path: Path) -> Iterator[Rig]:
    # pytest's own folders are closed to other users, and tasks may run as one
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    rig = Rig(tmp_path / "data")
    yield rig
    rig.close()
