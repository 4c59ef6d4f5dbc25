"""The source document's examples, verbatim, against a whole server: bash, curl, jq, and an EventSource."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.platform import Platform, host_of
from tests.source_document import (  # noqa: F401 - pytest collects them here
    CREATE_DOCKER,
    SCALE_TO_3,
    SCALE_TO_ZERO,
    Shell,
    deployed,
    shell,
    test_cancel,
    test_create_a_tish_deployment,
    test_list_all,
    test_logs,
    test_poll_until_running,
    test_promote,
    test_scale,
    test_stream,
)
from tests.support import eventually

FOLLOW = Path(__file__).parent / "apps" / "follow.js"
EVENT_SOURCE = """
const evtSource = new EventSource(
`http://localhost:47080/api/v1/deployments/${deploymentId}/logs/stream`
);
evtSource.onmessage = (e) => {
const entry = JSON.parse(e.data);
console.log(`[${entry.timestamp}] ${entry.message}`);
};
"""
_names = itertools.count(1)
pytestmark = pytest.mark.needs("bash", "curl", "jq", "node")


@pytest.fixture(autouse=True)
def tools() -> None:
    missing = [tool for tool in ("bash", "curl", "jq") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture
def platform_url(server: Platform) -> str:
    return server.api_url


@pytest.fixture
def app_name() -> str:
    return f"my-api-{next(_names)}"


@pytest.fixture
def executable(tiny: Path) -> Path:
    return tiny


@pytest.fixture
def become_running(server: Platform) -> Callable[[str], None]:
    def run(deployment_id: str) -> None:
        server.wait(deployment_id, lambda d: d["status"] == "running")

    return run


@pytest.fixture
def write_line(server: Platform) -> Callable[[str], str]:
    """The app says by itself where it starts."""

    def wait(deployment_id: str) -> str:
        entries = eventually(lambda: server.api("GET", f"/deployments/{deployment_id}/logs").json)
        return str(entries[0]["message"])

    return wait


def test_an_image_waits_where_no_engine_is(server: Platform, shell: Shell) -> None:  # noqa: F811 - the fixture
    made = shell.run(CREATE_DOCKER, "[.status, .id] | @tsv").split()
    assert made[0] == "pending"
    waiting = server.wait(made[1], lambda d: d["reason"] is not None)
    assert (waiting["status"], waiting["reason"]["code"]) == ("pending", "ENGINE_UNAVAILABLE")
    server.api("POST", f"/deployments/{made[1]}/cancel")


def test_scaled_to_zero_it_is_woken_by_traffic(server: Platform, deployed: Shell) -> None:  # noqa: F811 - the fixture
    deployment_id = deployed.variables["DEPLOY_ID"]
    server.wait(deployment_id, lambda d: d["status"] == "running")
    deployed.run(SCALE_TO_3)
    ready = server.wait(deployment_id, lambda d: d["tasks_ready"] == 3)
    assert (ready["tasks_total"], ready["progress"]) == (3, 100)
    deployed.run(SCALE_TO_ZERO)
    server.wait(deployment_id, lambda d: d["phase"] == "asleep")
    assert server.get(host_of(ready)).status == 200
    server.wait(deployment_id, lambda d: d["phase"] == "ready")


@contextmanager
def following(url: str, deployment_id: str) -> Iterator[subprocess.Popen[str]]:
    """Node at work on the document's JavaScript."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("not installed: node")
    own = ["--experimental-eventsource", "--no-warnings"]
    knows = subprocess.run([node, *own, "-e", ""], capture_output=True).returncode == 0
    command = [node, *(own if knows else []), FOLLOW, url, deployment_id, EVENT_SOURCE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(process: subprocess.Popen[str]) -> Callable[[int], list[str]]:
    """Reads what has been printed until there are `count` lines."""
    assert process.stdout is not None
    stream = process.stdout
    os.set_blocking(stream.fileno(), False)
    said = ""

    def wait(count: int) -> list[str]:
        def enough() -> list[str] | None:
            nonlocal said
            said += os.read(stream.fileno(), 65536).decode()
            return said.splitlines() if said.count("\n") >= count else None

        return eventually(enough, 20)

    return wait


def test_followed_in_an_event_source(platform: Platform, tiny: Path) -> None:
    """Old lines and new ones, none twice or missing, while the server is killed and comes back."""
    deployment = platform.deploy(tiny)
    host = host_of(deployment)
    url = platform.api_url
    with following(url, deployment["id"]) as process:
        printed = lines_of(process)
        assert printed(1)[0].partition("] ")[2].startswith("starting on ")
        for number in range(5):
            platform.get(host, f"/say?line-{number}")
        assert [line.partition("] ")[2] for line in printed(6)[1:]] == [f"line-{n}" for n in range(5)]

        platform.kill()
        platform.get(host, "/say?while-it-was-away")
        platform.start()
        assert platform.api_url == url, "the keeper kept the listening socket"
        platform.get(host, "/say?afterwards")
        texts = [line.partition("] ")[2] for line in printed(8)[6:]]
        assert texts == ["while-it-was-away", "afterwards"]
