"""What must be true of a server whatever has been killed: promises kept, each start once, nothing left over."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.platform import Platform
from tests.recovery.load import Ledger
from tests.support import eventually


def living(platform: Platform) -> dict[str, list[int]]:
    """Task id → pids of the live processes of this server's tasks, by what the processes themselves show."""
    found: dict[str, list[int]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if not process.cwd().startswith(f"{platform.data_dir}/work/"):
                continue
            environ = process.environ()
            task = environ.get("TASK_ID")
            if task and "DEPLOYMENT_ID" in environ and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(task, []).append(process.pid)
    return found


def started(marks: Path) -> Counter[str]:
    """How often each task was started, by the marks that the processes left."""
    return Counter(marks.read_text().split()) if marks.exists() else Counter()


def assert_none_started_twice(marks: Path) -> None:
    twice = {task: times for task, times in started(marks).items() if times > 1}
    assert not twice, twice


def assert_promises_kept(platform: Platform, ledger: Ledger) -> None:
    missing = [app for app in ledger.apps if platform.api("GET", f"/apps/{app}").status != 200]
    missing += [
        artifact
        for artifact in ledger.artifacts
        if platform.api("GET", f"/artifacts/{artifact}/download").status != 200
    ]
    assert not missing, missing
    for deployment_id, version in ledger.deployments.items():
        assert platform.deployment(deployment_id)["version"] == version
    for deployment_id in ledger.cancelled:
        assert platform.deployment(deployment_id)["status"] == "cancelled", deployment_id
    for deployment_id, numbers in ledger.wanted.items():
        assert platform.deployment(deployment_id)["spec"]["replicas"] in numbers, (deployment_id, numbers)


def all_tasks(platform: Platform, *states: str) -> list[Any]:
    found: list[Any] = []
    for state in states:
        page = 1
        while True:
            answer = platform.api("GET", f"/tasks?state={state}&page_size=100&page={page}").json
            found += answer["data"]
            if len(answer["data"]) < 100:
                break
            page += 1
    return found


def assert_settles(platform: Platform, timeout: float = 30.0) -> None:
    """In the end the processes that live are the tasks that the API shows, one process each."""

    def agree() -> bool:
        shown = {task["id"]: task["pid"] for task in all_tasks(platform, "starting", "running")}
        ending = all_tasks(platform, "pending", "stopping")
        lives = living(platform)
        assert not ending, f"not settled: {[(task['id'], task['state']) for task in ending]}"
        assert {task: [pid] for task, pid in shown.items()} == lives, f"shown {shown}, living {lives}"
        return True

    eventually(agree, timeout, every=0.1)


def assert_serving(platform: Platform, deployment_ids: Iterable[str]) -> None:
    """As many tasks as wanted are there, each slot held once."""

    def whole(deployment_id: str) -> bool:
        deployment = platform.deployment(deployment_id)
        tasks = platform.tasks(deployment_id, "running")
        slots = sorted(task["slot"] for task in tasks)
        assert slots == list(range(deployment["spec"]["replicas"])), (deployment, slots)
        return bool(deployment["tasks_ready"] == len(tasks))

    for deployment_id in deployment_ids:
        eventually(lambda wanted=deployment_id: whole(wanted), 20, every=0.05)
