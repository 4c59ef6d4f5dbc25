"""Variables and secrets of a whole platform: what tasks see, and where a secret is never found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.platform import Platform, host_of
from tests.support import eventually

SECRET = "correct-horse-battery-staple-8861"


def environment_of(platform: Platform, deployment_id: str) -> dict[str, str]:
    """What the one running task of a deployment was started with; its row follows by some milliseconds."""
    (task,) = eventually(lambda: platform.tasks(deployment_id, "running"))
    return psutil.Process(task["pid"]).environ()


def seen(platform: Platform, deployment_id: str, *names: str) -> dict[str, str | None]:
    found = environment_of(platform, deployment_id)
    return {name: found.get(name) for name in names}


def put(platform: Platform, path: str, body: Any, method: str = "PUT") -> Any:
    answer = platform.api(method, path, body)
    assert answer.status == 200, answer.text
    return answer.json


def configured(platform: Platform) -> str:
    """An app with variables in both scopes, one of them secret."""
    app_id = str(platform.app()["id"])
    everywhere = {"A": "app", "B": "app", "C": "app", "TOKEN": {"value": SECRET, "secret": True}}
    put(platform, f"/apps/{app_id}/env", everywhere)
    put(platform, f"/apps/{app_id}/environments/development/env", {"B": "environment", "C": "environment"})
    put(platform, f"/apps/{app_id}/environments/production/env", {"C": "production"})
    return app_id


def test_a_task_sees_the_merged_values_after_wakes_and_restarts_too(platform: Platform, tiny: Path) -> None:
    app_id = configured(platform)
    deployment = platform.deploy(tiny, app_id, env={"C": "own", "D": "own"})
    expected = {"A": "app", "B": "environment", "C": "own", "D": "own", "TOKEN": SECRET}
    assert seen(platform, deployment["id"], *expected) == expected

    answer = put(
        platform,
        f"/apps/{app_id}/env",
        {"A": "changed", "TOKEN": {"value": "other", "secret": True}},
        "PATCH",
    )
    assert answer["applies_to"] == "next"
    assert [old["id"] for old in answer["deployments"]] == [deployment["id"]]
    platform.sleep(deployment["id"])
    platform.kill()
    platform.start()
    assert platform.get(host_of(deployment)).status == 200
    assert seen(platform, deployment["id"], *expected) == expected

    newer = platform.deploy(tiny, app_id)
    assert seen(platform, newer["id"], "A", "B", "C", "D", "TOKEN") == {
        "A": "changed", "B": "environment", "C": "environment", "D": None, "TOKEN": "other",
    }  # fmt: skip


def test_a_promoted_deployment_sees_the_targets_values(platform: Platform, tiny: Path) -> None:
    app_id = configured(platform)
    source = platform.deploy(tiny, app_id, env={"C": "own", "D": "own"})
    promoted = platform.api("POST", f"/deployments/{source['id']}/promote", {"environment": "production"})
    made = platform.wait(promoted.json["deployment_id"], lambda d: d["status"] == "running")
    assert seen(platform, made["id"], "A", "B", "C", "D", "TOKEN") == {
        "A": "app", "B": "app", "C": "production", "D": "own", "TOKEN": SECRET,
    }  # fmt: skip


def test_a_secret_is_nowhere_but_in_its_tasks_environment(platform: Platform, tiny: Path) -> None:
    app_id = configured(platform)
    deployment = platform.deploy(tiny, app_id)
    platform.sleep(deployment["id"])
    assert platform.get(host_of(deployment)).status == 200
    platform.kill()
    platform.start()
    platform.api("PUT", f"/apps/{app_id}/env", {"TOKEN": {"value": [SECRET], "secret": True}})
    platform.api("PUT", f"/apps/{app_id}/env", {"TOKEN": {"value": SECRET, "secret": SECRET}})
    shown = [
        platform.api("GET", path).text
        for path in (
            f"/apps/{app_id}",
            f"/apps/{app_id}/env",
            f"/deployments/{deployment['id']}",
            f"/deployments/{deployment['id']}/tasks",
            f"/deployments/{deployment['id']}/logs",
        )
    ]
    assert json.loads(shown[1])["TOKEN"] == {"secret": True, "value": "***"}
    assert environment_of(platform, deployment["id"])["TOKEN"] == SECRET
    assert not [text for text in shown if SECRET in text]
    assert SECRET not in platform.log.read_text()
    assert found_in(platform.data_dir, SECRET) == []
    platform.terminate()
    assert found_in(platform.data_dir, SECRET) == []


def found_in(folder: Path, text: str) -> list[Path]:
    """Files below `folder` that hold `text`; those that are no files (sockets, FIFOs) hold nothing."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    return [path for path in files if text.encode() in path.read_bytes()]


def test_without_its_key_a_deployment_fails_and_says_why(platform: Platform, tiny: Path) -> None:
    app_id = configured(platform)
    key = platform.data_dir / "keys" / "secrets.key"
    platform.terminate()
    kept = key.read_bytes()
    key.unlink()
    platform.start()
    failed = platform.deploy(tiny, app_id)
    assert (failed["status"], failed["reason"]["code"]) == ("failed", "SECRET_UNREADABLE")
    assert str(key) in failed["reason"]["message"]
    other = platform.deploy(tiny, env={"A": "1"})
    assert other["status"] == "running"
    platform.terminate()
    key.write_bytes(kept)
    platform.start()
    assert platform.deploy(tiny, app_id)["status"] == "running"
