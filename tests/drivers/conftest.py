"""The compiled test program, and drivers over real keepers: with the machine's cgroups, and without any."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.drivers.rig import NO_CGROUPS, Rig

APPS = Path(__file__).parent / "apps"


@pytest.fixture(scope="session", autouse=True)
def _first_loop() -> None:
    """The first uvloop of a process opens a pipe that stays; no test shall be blamed for it."""
    uvloop.new_event_loop().close()


@pytest.fixture(scope="session")
def room() -> Iterator[Path]:
    """A folder that tasks of any user can reach into."""
    folder = Path(tempfile.mkdtemp(prefix="platformd-drivers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def program(room: Path) -> Path:
    """The compiled `app.c`."""
    binary = room / "app"
    subprocess.run(["gcc", "-O2", "-static", "-o", binary, APPS / "app.c"], check=True)
    binary.chmod(0o755)
    return binary


@pytest.fixture
def make_rig(no_leaks: None, room: Path, program: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(**options: Any) -> Rig:
        folder = Path(tempfile.mkdtemp(dir=room))
        folder.chmod(0o755)
        rigs.append(Rig(folder / "data", program, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """With whatever cgroups this machine has."""
    return make_rig()


@pytest.fixture
def bare(make_rig: Callable[..., Rig]) -> Rig:
    """As on a machine without cgroups."""
    return make_rig(cgroups=NO_CGROUPS)


@pytest.fixture(params=["cgroups", "bare"])
def either(request: pytest.FixtureRequest, make_rig: Callable[..., Rig]) -> Rig:
    return make_rig() if request.param == "cgroups" else make_rig(cgroups=NO_CGROUPS)
