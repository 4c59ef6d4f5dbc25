"""The drivers' contract, kept by the Docker driver on a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from platformd.drivers.base import LaunchOrder
from tests.docker.engine import DockerEngine
from tests.docker.rig import DockerRig
from tests.drivers.contract import DriverContract

pytestmark = pytest.mark.needs("engine")


class DockerBench:
    def __init__(self, rig: DockerRig) -> None:
        self.rig = rig
        self.wait, self.names, self.task, self.restart = rig.wait, rig.names, rig.task, rig.restart

    @property
    def driver(self):
        return self.rig.driver

    def serving(self) -> LaunchOrder:
        return self.rig.order()

    def stubborn(self) -> LaunchOrder:
        return self.rig.order({"IGNORE_TERM": 1, "SLOW_TERM_MS": 0})

    def silent(self) -> LaunchOrder:
        return self.rig.order({"NO_LISTEN": 1})

    def crashing(self) -> LaunchOrder:
        return self.rig.order({"EXIT_MS": 20, "EXIT": 3})

    def impossible(self) -> LaunchOrder:
        return self.rig.order(command=("/missing",))


class TestDocker(DriverContract):
    @pytest.fixture
    def bench(self, engine: DockerEngine, no_leaks: None) -> Iterator[DockerBench]:
        rig = DockerRig(engine)
        yield DockerBench(rig)
        rig.close()
