"""kill -9 of serve, again and again, at any instant and under load: nobody but serve notices."""

from __future__ import annotations

import logging
import os
import random
import threading
from pathlib import Path

import pytest

from tests.conftest import CI
from tests.e2e.platform import Platform, host_of
from tests.recovery import verify
from tests.recovery.load import SEED, Load, churner, maker, scaler, sleeper, visitor

ROUNDS = int(os.environ.get("PLATFORMD_TEST_KILLS") or (100 if CI else 30))
_log = logging.getLogger("kills")  # shown when the test fails
LONGEST = 0.7  # seconds: from a start, or from being ready, to the kill


@pytest.mark.slow
@pytest.mark.timeout(60 + 6 * ROUNDS)
def test_serve_killed_at_random_phases_under_load(platform: Platform, tiny: Path, common: Path) -> None:
    """No connection is refused, no promise broken, no process ended, doubled or left behind."""
    _log.warning("PLATFORMD_TEST_SEED=%s", SEED)
    marks = common / "marks"
    env = {"MARK_FILE": str(marks)}
    steady = platform.deploy(tiny, env=env, idle_timeout_secs=3600)
    always_on = platform.deploy(tiny, env=env, cold_start_enabled=False)
    dozing = platform.deploy(tiny, env=env)
    scaled = platform.deploy(tiny, env=env, cold_start_enabled=False)
    pids = {one["id"]: platform.get(host_of(one), "/pid").text for one in (steady, always_on)}
    churned, artifact = platform.app()["id"], platform.artifact(tiny.read_bytes())

    load = Load(platform.api_url, platform.gateway_url, SEED)
    for one in (steady, always_on):
        load.add("visitor", visitor(host_of(one), pids[one["id"]]))
    load.add("maker", maker(artifact))
    load.add("sleeper", sleeper(dozing, host_of(dozing)))
    load.add("scaler", scaler(scaled), pause=0.1)
    load.add("churner", churner(churned, artifact, env))
    pause, lots = threading.Event(), random.Random(SEED)
    with load.running():
        for number in range(ROUNDS):
            if number % 2:  # the others die while they start, or soon afterwards
                platform.await_ready()
            pause.wait(lots.uniform(0, LONGEST))
            platform.kill()
            load.check()
            platform.launch()
        platform.await_ready()
    _log.warning("%s", load.ledger.summary())

    verify.assert_promises_kept(platform, load.ledger)
    verify.assert_settles(platform)
    verify.assert_none_started_twice(marks)
    verify.assert_serving(platform, [steady["id"], always_on["id"], scaled["id"]])
    for deployment_id, pid in pids.items():
        [task] = platform.tasks(deployment_id)
        assert (task["pid"], task["restarts"]) == (int(pid), 0)
    assert load.ledger.served > ROUNDS
    assert load.ledger.apps and load.ledger.cancelled
