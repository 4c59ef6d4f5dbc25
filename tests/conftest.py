"""Fixtures and rules for all tests: leaks, Hypothesis profiles, skips that count as failures, second tries in CI."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from tests.leaks import Belongings
from tests.support import eventually

# What a shell starts in the background ignores Ctrl-C, and under nohup a hang-up: so would what the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

CI = os.environ.get("CI", "").lower() in ("1", "true")

REAL_ROOMS = tuple(
    f"tests/{room}/"
    for room in ("browser", "cli", "docker", "drivers", "e2e", "gateway", "keeper", "recovery")
)
"""Whose tests run real processes, sockets and kills against the clock of a machine that others may be using."""

set_hypothesis_home_dir(Path(__file__).parent.parent / ".pytest_cache" / "hypothesis")
hypothesis.settings.register_profile("local", deadline=None, max_examples=60)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=200, print_blob=True)
hypothesis.settings.load_profile("ci" if CI else "local")


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fails a test after which threads, descriptors or child processes are there that were not before.

    Name it before the fixtures whose leaving it is to judge; what ends by itself has five seconds.
    """
    before = Belongings.now()
    yield
    left: list[str] = []

    def nothing_left() -> bool:
        left[:] = Belongings.now().beyond(before)
        return not left

    try:
        eventually(nothing_left, timeout=5.0, every=0.05)
    except AssertionError:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Where CI=true, a test marked `needs` that skips has failed: the machine was to have what it needs."""
    report = yield
    marker = item.get_closest_marker("needs")
    if CI and marker and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} needs {' and '.join(marker.args)} and was skipped: {report.longrepr}"
        )
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In CI a test of a real room that fails is tried once more; the summary shows how it failed the first time."""
    for item in items:
        if CI and item.nodeid.startswith(REAL_ROOMS):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    stages = os.environ.get("PLATFORMD_TEST_STAGES")
    if stages:
        terminalreporter.section("checks before the tests")
        terminalreporter.write_line(stages)
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"failed once: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
