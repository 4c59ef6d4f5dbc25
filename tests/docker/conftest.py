"""One engine for all tests of a run, with the images that they start; skipped with the reason where none can run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from tests.docker.engine import CannotRun, DockerEngine

TESTS = Path(__file__).parent.parent
APP, TINY = "platformd-test/app:1", "platformd-test/tiny:1"


@pytest.fixture(scope="session", autouse=True)
def _first_loop() -> None:
    """The first uvloop of a process opens a pipe that stays; no test shall be blamed for it."""
    uvloop.new_event_loop().close()


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """With the images `app:1` (of tests/drivers) and `tiny:1` (of tests/e2e)."""
    try:
        running = DockerEngine()
    except CannotRun as reason:
        pytest.skip(f"no Docker engine: {reason}")
    yield from made_images(running, tmp_path_factory.mktemp("images"), "no Docker engine")


def made_images(running: DockerEngine, folder: Path, otherwise: str) -> Iterator[DockerEngine]:
    """It runs and has the images; skipped with `otherwise` and why where it does not come up."""
    try:
        try:
            running.start()
            make_images(running, folder)
        except CannotRun as reason:
            pytest.skip(f"{otherwise}: {reason}")
        yield running
    finally:
        running.close()


def make_images(engine: DockerEngine, folder: Path) -> None:
    """Programs see that they are process 1, for which signals without a handler have no effect: so they have one."""
    app, tiny = folder / "app", folder / "tiny"
    compile_static(TESTS / "drivers" / "apps" / "app.c", app)
    compile_static(TESTS / "e2e" / "apps" / "tiny.c", tiny)
    engine.make_image(APP, {"app": app}, 'CMD ["/app"]', "ENV ANY=1", "ENV SLOW_TERM_MS=1", "EXPOSE 8080")
    engine.make_image(TINY, {"tiny": tiny}, 'CMD ["/tiny"]', "ENV TERM_MS=0", "EXPOSE 8080")


def compile_static(source: Path, binary: Path) -> None:
    subprocess.run(["gcc", "-O2", "-static", "-o", binary, source], check=True)
