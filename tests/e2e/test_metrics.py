"""`/metrics` of a real server, as a Prometheus would scrape it."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.herd import herd
from tests.e2e.platform import Platform, host_of
from tests.support import eventually

CHATTY = b'#!/bin/sh\nfor n in $(seq 500); do echo line $n; done\nexec python3 -m http.server "$PORT"\n'


def scrape(server: Platform) -> tuple[bytes, dict[str, float]]:
    with urllib.request.urlopen(f"{server.api_url}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.read()
    samples = (s for family in text_string_to_metric_families(text.decode()) for s in family.samples)
    return text, {
        sample.name + "".join(f" {v}" for v in sample.labels.values()): sample.value for sample in samples
    }


@pytest.mark.needs("promtool")
def test_a_wake_of_a_herd_shows_in_the_metrics(server: Platform, tiny: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    deployment = server.deploy(tiny, env={"START_MS": "200"})
    server.sleep(deployment["id"])
    _, before = scrape(server)
    assert before["platformd_deployments asleep"] >= 1
    herd(server.gateway_url, host_of(deployment), 40)

    def counted() -> dict[str, float] | None:
        now = scrape(server)[1]
        series = f"platformd_deployment_requests_total 2xx {deployment['id']}"
        return now if now.get(series) == 40 else None

    after = eventually(counted)
    grown = {name: after[name] - before.get(name, 0.0) for name in after}
    assert grown["platformd_wakes_total ready"] == 1
    assert grown["platformd_wake_duration_seconds_count"] == 1
    assert 0.2 <= grown["platformd_wake_duration_seconds_sum"] < 5
    assert grown["platformd_gateway_queue_duration_seconds_count"] == 40
    assert grown["platformd_store_commit_duration_seconds_count"] > 0
    assert after["platformd_gateway_held_requests"] == 0
    text, _ = scrape(server)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_lines_of_output_are_counted(server: Platform) -> None:
    _, before = scrape(server)
    server.deploy(CHATTY)

    def counted() -> bool:
        return scrape(server)[1]["platformd_log_lines_total"] >= before["platformd_log_lines_total"] + 500

    eventually(counted)
