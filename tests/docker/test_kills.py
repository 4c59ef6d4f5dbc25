"""kill -9 of serve, again and again, while containers serve, sleep and wake: nobody but serve notices."""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.containers import ContainerPlatform
from tests.docker.engine import DockerEngine
from tests.e2e.conftest import common, tiny
from tests.e2e.platform import host_of
from tests.recovery import verify
from tests.recovery.load import SEED, Load, sleeper, visitor
from tests.support import eventually

pytestmark = [pytest.mark.needs("engine"), pytest.mark.slow]
__all__ = ["common", "tiny"]
ROUNDS, LONGEST = 10, 1.5
_log = logging.getLogger("kills")  # shown when the test fails


@pytest.fixture
def platform(engine: DockerEngine) -> Iterator[ContainerPlatform]:
    root = Path(tempfile.mkdtemp(prefix="platformd-"))
    root.chmod(0o711)
    server = ContainerPlatform(root / "data", engine)
    try:
        yield server.start()
    finally:
        server.destroy()
        engine.remove_containers()
        shutil.rmtree(root, ignore_errors=True)


@pytest.mark.timeout(240)
def test_serve_killed_under_load(
    platform: ContainerPlatform, engine: DockerEngine, tiny: Path, common: Path
) -> None:
    """No connection is refused; the same container serves throughout; none is started twice, none is left over."""
    _log.warning("PLATFORMD_TEST_SEED=%s", SEED)
    marks = common / "marks"
    env = {"MARK_FILE": str(marks)}
    steady = platform.deploy(tiny, env=env, idle_timeout_secs=3600)
    dozing = platform.deploy(tiny, env=env)
    [before] = eventually(lambda: platform.tasks(steady["id"], "running"))
    load = Load(platform.api_url, platform.gateway_url, SEED)
    load.add("visitor", visitor(host_of(steady), platform.get(host_of(steady), "/pid").text))
    load.add("sleeper", sleeper(dozing, host_of(dozing)))
    pause, lots = threading.Event(), random.Random(SEED)
    with load.running():
        for number in range(ROUNDS):
            if number % 2:  # the others die while they start, or soon afterwards
                platform.await_ready(60)
            pause.wait(lots.uniform(0, LONGEST))
            platform.kill()
            load.check()
            platform.launch()
        platform.await_ready(60)
    [after] = eventually(lambda: platform.tasks(steady["id"], "running"))
    assert (after["container_id"], after["restarts"]) == (before["container_id"], 0)
    verify.assert_none_started_twice(marks)
    assert load.ledger.served > ROUNDS

    def only_what_is_known() -> bool:
        known = {
            task["container_id"] for one in (steady, dozing) for task in platform.tasks(one["id"], "running")
        }
        with engine.client() as client:
            return {one["Id"] for one in client.containers()} == known

    platform.wait(dozing["id"], lambda d: d["phase"] in ("asleep", "ready"), 30)
    eventually(only_what_is_known, 30, every=0.5)
