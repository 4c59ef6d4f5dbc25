"""`bench api`: how many calls of the API one server answers, and how soon, with many deployments in its store.

The server's threads have a core of their own, where there are two; the load is a process on another.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import psutil

from platformd.cli.bench.floors import CannotMeasure, Floors
from platformd.cli.bench.report import Report, cores, ms
from platformd.cli.bench.stage import Subject, folder_and_server, put_in_stock
from platformd.cli.bench.traffic import address_of
from platformd.cli.local import LocalServer, pause

CONNECTIONS = 64
READS_GOAL, CREATES_GOAL, P99_GOAL = 3000, 800, 0.025
_SETTLE_SECS = 2.0

Request = tuple[str, str, str]


def measure(stored: int, seconds: int) -> Report:
    """`stored` sleeping deployments, `seconds` for each of the four loads."""
    report = Report("api", figures={"stored": stored, "seconds": seconds, "connections": CONNECTIONS})
    ours, theirs = cores(report)
    with folder_and_server() as (folder, server):
        floors = Floors(folder)
        server.start()
        subject = Subject(server.client, "pattern", floors.server)
        subject.sleep()
        artifact = server.client.deployment(subject.id)["spec"]["artifact_id"]
        server.stop()
        stock = put_in_stock(server.data_dir, subject.id, stored)
        server.start()
        pause(_SETTLE_SECS)
        pin(server.pid, ours)
        load = _Load(server, seconds, theirs)
        shuffled = random.Random(1).sample(stock, len(stock))
        reads = [("GET", f"/api/v1/deployments/{each.id}", "") for each in shuffled]
        # The first of each app in this environment: one that replaces another gives that one work, too.
        body = json.dumps({"artifact_id": artifact, "environment": "production", "replicas": 0})
        creates = [("POST", f"/api/v1/apps/{each.identity.app_id}/deployments", body) for each in shuffled]
        _judge(report, "GET status", load, reads, READS_GOAL, "200")
        _judge(report, "create", load, creates, CREATES_GOAL, "201")
    return report


class _Load:
    """Runs one load after the other, and says what the server's process spent on each."""

    def __init__(self, server: LocalServer, seconds: int, cpus: set[int]) -> None:
        self._server = server
        self._seconds = seconds
        self._cpus = cpus

    def __call__(self, requests: Sequence[Request], rate: float | None = None) -> dict[str, Any]:
        host, port = address_of(self._server.api_url)
        order = {
            "host": host,
            "port": port,
            "requests": requests,
            "connections": CONNECTIONS,
            "seconds": self._seconds,
            "rate": rate,
            "cpus": sorted(self._cpus),
        }
        serve = psutil.Process(self._server.pid)
        before = _spent(serve)
        cpus = ",".join(map(str, sorted(self._cpus)))
        done = subprocess.run(
            ["taskset", "-c", cpus, sys.executable, "-m", "platformd.cli.bench.load"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            check=False,
            timeout=self._seconds + 60,
        )
        if done.returncode != 0:
            raise CannotMeasure(f"the load did not work: {done.stderr.strip()[-1000:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found | {"cpu_each": (_spent(serve) - before) / found["answers"]}


def _judge(
    report: Report, what: str, load: _Load, requests: Sequence[Request], goal: int, status: str
) -> None:
    fast = load(requests)
    steady = load(requests, goal / 2)
    report.figures[what.lower().replace(" ", "_")] = {"fast": fast, "steady": steady}
    each = f"{fast['rate']:,.0f}, {fast['cpu_each'] * 1e6:.0f} µs of a core each, p99 {ms(fast['p99'])}"
    report.add(f"{what}: answers/s", each, f"{goal:,}", fast["rate"] >= goal)
    report.add(f"{what}: p99 at {goal // 2:,}/s", ms(steady["p99"]), ms(P99_GOAL), steady["p99"] <= P99_GOAL)
    failed = sum(
        count for load_ in (fast, steady) for code, count in load_["statuses"].items() if code != status
    )
    report.add(f"{what}: other answers than {status}", str(failed), "0", failed == 0)


def pin(pid: int, cpus: set[int]) -> None:
    """Every thread of a process, and those it will have."""
    for thread in psutil.Process(pid).threads():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread.id, cpus)


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
