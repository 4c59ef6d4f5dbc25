"""W21 on containers: waking and sleeping over and over leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from platformd.drivers.docker.driver import CALLS_AT_ONCE
from tests.docker.containers import ContainerPlatform
from tests.docker.engine import DockerEngine
from tests.docker.test_stories import platform
from tests.e2e.conftest import tiny
from tests.e2e.test_cycles import test_five_hundred_cycles as five_hundred_cycles
from tests.support import eventually

pytestmark = [pytest.mark.needs("engine"), pytest.mark.slow]
__all__ = ["platform", "tiny"]


@pytest.mark.timeout(1200)
def test_five_hundred_cycles_of_a_container(
    platform: ContainerPlatform, engine: DockerEngine, tiny: Path
) -> None:
    """A crowd comes first, so that every worker and its connection are there before anything is counted."""
    crowd = platform.deploy(tiny, replicas=2 * CALLS_AT_ONCE)
    assert platform.api("POST", f"/deployments/{crowd['id']}/cancel").status == 200
    platform.wait(crowd["id"], lambda d: d["phase"] == "done", 60)
    five_hundred_cycles(platform, tiny)
    with engine.client() as client:

        def only_what_was_made_for_the_next_wake() -> bool:
            return [one["State"] for one in client.containers(all=True)] == ["created"]

        # What the engine did not remove when it was told to is found when all of it is looked at, now and then.
        eventually(only_what_was_made_for_the_next_wake, 90, every=0.5)
