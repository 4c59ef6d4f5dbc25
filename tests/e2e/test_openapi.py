"""The real server held to its own OpenAPI document by schemathesis: no 5xx, no answer that is not documented."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.platform import Platform

EXAMPLES = 12
SEED = 20


def configuration(ids: dict[str, list[str]]) -> str:
    """What schemathesis should know: objects that exist, and that rules beyond a schema's words answer 422."""
    lines = ["request-timeout = 30"]
    lines += [f"[dictionaries.{name}]\nvalues = {json.dumps(values)}" for name, values in ids.items()]
    lines.append("[parameters]")
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.7 }}' for name in ids]
    lines.append('[checks.positive_data_acceptance]\nexpected-statuses = ["2xx", "3xx", "4xx", 501]')
    lines.append('[checks.negative_data_rejection]\nexpected-statuses = ["4xx", 501]')
    lines.append('[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 501]')
    lines.append('[[operations]]\ninclude-path-regex = "/(events|stream)$"\nmax-stream-events = 3')
    lines.append("request-timeout = 0.5")  # those that never end
    return "\n".join(lines)


@pytest.mark.timeout(400)
def test_the_server_answers_as_its_document_says(server: Platform, tiny: Path, tmp_path: Path) -> None:
    app = server.app()
    asleep = server.deploy(tiny, app["id"])
    tasks = server.tasks(asleep["id"])
    server.sleep(asleep["id"])
    waiting = server.api("POST", f"/apps/{app['id']}/deployments", {"environment": "staging"}).json
    ids = {
        "app_id": [app["id"]],
        "artifact_id": [server.artifact(b"#!/bin/sh\nexec sleep 1\n")],
        "deployment_id": [asleep["id"], waiting["id"]],
        "task_id": [tasks[0]["id"]],
    }
    (tmp_path / "schemathesis.toml").write_text(configuration(ids))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml")]
    command += ["run", f"{server.api_url}/api/v1/openapi.json", "--max-examples", str(EXAMPLES)]
    command += ["--seed", str(SEED), "--no-color", "--warnings", "off", "--generation-database", "none"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
