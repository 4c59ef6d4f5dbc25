"""The end-to-end tests of wakes, sleep, freezing, stops and restarts, on containers served at their own address."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.docker.containers import ContainerPlatform
from tests.docker.engine import DockerEngine
from tests.e2e import (
    test_freeze,
    test_idle,
    test_restarts,
    test_stop,
    test_wake,
    test_wake_failures,
)
from tests.e2e.conftest import brood, common, rich, tiny
from tests.e2e.test_freeze import counter

pytestmark = pytest.mark.needs("engine")
__all__ = ["brood", "common", "counter", "rich", "tiny"]

STORIES: dict[ModuleType, tuple[str, ...]] = {
    test_wake: (
        "test_a_thousand_requests_start_an_app_once",
        "test_a_full_queue_refuses_fast",
        "test_health_decides_when_requests_may_come",
        "test_who_leaves_while_held_is_never_seen_by_the_app",
        "test_a_large_body_waits_outside_our_memory",
        "test_a_hundred_apps_wake_together",
    ),
    test_wake_failures: (
        "test_what_never_listens_times_out",
        "test_what_exits_while_waking_fails_the_held_at_once",
    ),
    test_idle: (
        "test_a_request_longer_than_the_timeout_is_let_finish",
        "test_an_open_socket_and_an_open_stream_keep_it_awake",
        "test_no_request_is_lost_to_the_idle_stop",
    ),
    test_freeze: (
        "test_the_counter_stands_while_it_sleeps_and_a_request_makes_it_go_on",
        "test_it_thaws_within_a_moment",
        "test_frozen_then_cancelled_it_hears_the_signal",
        "test_a_kill_leaves_it_frozen_until_the_next_request",
    ),
    test_stop: (
        "test_nothing_outlives_its_task",
        "test_two_thousand_children_go_too",
        "test_what_ignores_sigterm_is_killed_at_the_deadline",
        "test_a_slow_exit_within_the_grace_keeps_its_code",
        "test_in_flight_requests_end_before_the_signal",
    ),
    test_restarts: (
        "test_the_pauses_double_until_the_budget_is_spent",
        "test_a_crash_after_it_was_ready_is_one_failure",
        "test_a_short_good_time_forgives_nothing",
        "test_a_spent_budget_of_one_that_was_ready",
        "test_one_slot_that_fails_leaves_the_others_serving",
        "test_a_start_that_misses_its_deadline_has_failed",
        "test_health_that_is_not_good_fails_and_the_old_version_serves_on",
        "test_health_that_goes_takes_it_out_of_balance",
    ),
}
for _module, _names in STORIES.items():
    globals().update({name: getattr(_module, name) for name in _names})


def _running(engine: DockerEngine) -> Iterator[ContainerPlatform]:
    root = Path(tempfile.mkdtemp(prefix="platformd-"))
    root.chmod(0o711)
    server = ContainerPlatform(root / "data", engine)
    try:
        server.start()
        yield server
    finally:
        server.destroy()
        engine.remove_containers()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def server(engine: DockerEngine) -> Iterator[ContainerPlatform]:
    yield from _running(engine)


@pytest.fixture
def platform(engine: DockerEngine) -> Iterator[ContainerPlatform]:
    yield from _running(engine)
