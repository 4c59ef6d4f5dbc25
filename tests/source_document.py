"""The examples of the document the API was born from, run with bash, curl and jq exactly as they stand there.

A module that wants them run imports the tests and says by fixtures against what: `platform_url` (the API),
`executable` (a file to deploy), `app_name`, `become_running` (called with a deployment's id while it is pending),
`write_line` (called with a deployment's id; something must then be in its log).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

DOCUMENTED_URL = "http://localhost:47080"
PATIENCE = 60.0

CREATE_DOCKER = r"""
curl -X POST http://localhost:47080/api/v1/apps/$APP_ID/deployments \
-H 'Content-Type: application/json' \
-d '{
"process_type": "docker",
"image": "ghcr.io/myorg/my-api:latest",
"replicas": 2,
"environment": "production",
"resources": {"cpu":"250m","memory":"256Mi"},
"networking": {"port":8080,"health_path":"/health"},
"env": {"LOG_LEVEL":"info"}
}'
"""
CREATE_TISH = r"""
curl -X POST http://localhost:47080/api/v1/apps/$APP_ID/deployments \
-H 'Content-Type: application/json' \
-d "{
\"artifact_id\": \"$ARTIFACT_ID\",
\"process_type\": \"tish\",
\"replicas\": 1,
\"environment\": \"development\",
\"networking\": {\"port\": 8080}
}"
"""
POLL = r"""
# Poll until running
while true; do
D=$(curl -sf http://localhost:47080/api/v1/deployments/$DEPLOY_ID)
echo "$(echo $D | jq -r .status) — $(echo $D | jq -r .tasks_ready)/$(echo $D | jq -r .tasks_total) ready"
[ "$(echo $D | jq -r .status)" != "pending" ] && break
sleep 3
done
"""
LIST_ALL = r"""
curl "http://localhost:47080/api/v1/deployments?app_id=$APP_ID&sort_order=desc"
"""
SCALE_TO_3 = r"""
# Scale to 3
curl -X PATCH http://localhost:47080/api/v1/deployments/$DEPLOY_ID \
-H 'Content-Type: application/json' \
-d '{"spec":{"replicas":3}}'
"""
SCALE_TO_ZERO = r"""
# Scale to zero (traffic wakes it via cold start)
curl -X PATCH http://localhost:47080/api/v1/deployments/$DEPLOY_ID \
-H 'Content-Type: application/json' \
-d '{"spec":{"replicas":0}}'
"""
PROMOTE = r"""
# Get the latest development deployment
DEV_ID=$(curl -sf "http://localhost:47080/api/v1/apps/$APP_ID/deployments?page_size=1" \
| jq -r '.deployments[0].id')
curl -X POST http://localhost:47080/api/v1/deployments/$DEV_ID/promote \
-H 'Content-Type: application/json' \
-d '{"strategy":"instant","environment":"production"}'
"""
LOGS = r"""
curl http://localhost:47080/api/v1/deployments/$DEPLOY_ID/logs | jq '.[] | .message'
"""
STREAM = r"""
curl -N -H 'Accept: text/event-stream' \
http://localhost:47080/api/v1/deployments/$DEPLOY_ID/logs/stream
"""
# What the document describes without an example of its own.
CREATE_APP = r"""
curl -sf -X POST http://localhost:47080/api/v1/apps \
-H 'Content-Type: application/json' -d "{\"name\": \"$APP_NAME\"}"
"""
UPLOAD = r"""
ARTIFACT_ID=$(curl -sf -X POST http://localhost:47080/api/v1/artifacts \
-H 'Content-Type: application/json' -d '{"name": "server", "content_type": "application/octet-stream"}' | jq -r .id)
curl -sf -X POST http://localhost:47080/api/v1/artifacts/$ARTIFACT_ID/upload \
-H 'Content-Type: application/octet-stream' --data-binary "@$FILE" >&2
echo $ARTIFACT_ID
"""
CREATE_PLAIN = r"""
curl -sf -X POST http://localhost:47080/api/v1/apps/$APP_ID/deployments \
-H 'Content-Type: application/json' -d "{\"artifact_id\": \"$ARTIFACT_ID\"}"
"""
CANCEL = r"""
curl -X POST http://localhost:47080/api/v1/deployments/$DEPLOY_ID/cancel
"""
CREATED_FIELDS = (
    "id sha app_id version status spec tasks_ready tasks_total progress environment_slug "
    "preview_url created_at updated_at"
)


class Shell:
    """Runs examples against `url`; what one prints may be kept as a variable of the next."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.variables: dict[str, str] = {}

    def run(self, script: str, select: str | None = None) -> str:
        """What bash prints for `script`, or of that JSON what the jq expression `select` finds."""
        pipe = "" if select is None else f"| jq -er '{select}'"
        with self.start(f"({script}) {pipe}") as process:
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, (script, out, err)
        return out.strip()

    def start(self, script: str) -> subprocess.Popen[str]:
        """bash at work on `script`."""
        return subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", script.replace(DOCUMENTED_URL, self.url)],
            env=os.environ | self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def shell(platform_url: str, app_name: str, executable: Path) -> Shell:
    """With an app and an uploaded artifact: APP_ID and ARTIFACT_ID are set."""
    made = Shell(platform_url)
    made.variables |= {"APP_NAME": app_name, "FILE": str(executable)}
    made.variables["APP_ID"] = made.run(CREATE_APP, ".id")
    made.variables["ARTIFACT_ID"] = made.run(UPLOAD)
    return made


@pytest.fixture
def deployed(shell: Shell) -> Shell:
    """With a deployment that leaves its port to the platform: DEPLOY_ID is set."""
    shell.variables["DEPLOY_ID"] = shell.run(CREATE_PLAIN, ".id")
    return shell


def test_create_a_tish_deployment(shell: Shell) -> None:
    shown = shell.run(CREATE_TISH, "[.status, .environment_slug, .spec.networking.port, .version] | @csv")
    assert shown == '"pending","development",8080,1'
    fields = shell.run(LIST_ALL, '.data[0] | keys_unsorted | join(" ")').split()
    assert set(CREATED_FIELDS.split()) <= set(fields)


def test_poll_until_running(deployed: Shell, become_running: Callable[[str], None]) -> None:
    with deployed.start(POLL) as polling:
        become_running(deployed.variables["DEPLOY_ID"])
        out, err = polling.communicate(timeout=PATIENCE)
    assert polling.returncode == 0, err
    assert out.splitlines()[-1].startswith("running — ")


def test_list_all(deployed: Shell) -> None:
    newest = deployed.run(CREATE_PLAIN, ".id")
    assert deployed.run(LIST_ALL, ".data[].id").split() == [newest, deployed.variables["DEPLOY_ID"]]
    assert deployed.run(LIST_ALL, "[.total, .page, .page_size] | @csv") == "2,1,20"


def test_scale(deployed: Shell, become_running: Callable[[str], None]) -> None:
    become_running(deployed.variables["DEPLOY_ID"])
    assert deployed.run(SCALE_TO_3, ".spec.replicas") == "3"
    assert deployed.run(SCALE_TO_ZERO, ".spec.replicas") == "0"


def test_promote(deployed: Shell) -> None:
    assert deployed.run(PROMOTE, ".message") == "Deployment created and scheduler notified"
    promoted = deployed.run(LIST_ALL, ".data[0] | [.version, .environment_slug] | @csv")
    assert promoted == '2,"production"'


def test_cancel(deployed: Shell) -> None:
    for _ in range(2):
        assert (
            deployed.run(CANCEL, "[.id, .status] | @csv")
            == f'"{deployed.variables["DEPLOY_ID"]}","cancelled"'
        )


def test_logs(deployed: Shell, write_line: Callable[[str], str]) -> None:
    line = write_line(deployed.variables["DEPLOY_ID"])
    assert f'"{line}"' in deployed.run(LOGS).splitlines()


def test_stream(deployed: Shell, write_line: Callable[[str], str]) -> None:
    line = write_line(deployed.variables["DEPLOY_ID"])
    with deployed.start(STREAM) as streaming:
        assert streaming.stdout is not None
        seen = iter(streaming.stdout.readline, "")
        data = next(each for each in seen if each.startswith("data: ") and line in each)
        assert f'"message":"{line}"' in data
        deployed.run(CANCEL)
        rest = list(seen)
    assert "event: end\n" in rest
    assert streaming.returncode == 0
