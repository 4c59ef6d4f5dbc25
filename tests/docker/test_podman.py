"""The drivers' contract on Podman's Docker-compatible service: what it does otherwise is listed in the documents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker.conftest import APP, made_images
from tests.docker.engine import CannotRun, DockerEngine
from tests.docker.podman import PodmanEngine
from tests.docker.rig import DockerRig
from tests.docker.test_contract import DockerBench
from tests.drivers.contract import DriverContract

pytestmark = pytest.mark.needs("podman")


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    try:
        running = PodmanEngine()
    except CannotRun as reason:
        pytest.skip(f"no Podman: {reason}")
    for engine in made_images(running, tmp_path_factory.mktemp("images"), "no Podman"):
        _warm_up(engine)
        yield engine


def _warm_up(podman: DockerEngine) -> None:
    """Its first container makes bridge and firewall rules, which can take longer than the driver waits."""
    with podman.client() as client:
        made = client.create_container(APP)
        client.start(made["Id"])
        client.remove_container(made["Id"], force=True)


class TestPodman(DriverContract):
    @pytest.fixture
    def bench(self, podman: DockerEngine) -> Iterator[DockerBench]:
        rig = DockerRig(podman)
        yield DockerBench(rig)
        rig.close()
