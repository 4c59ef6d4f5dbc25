"""Programs that others wrote, unchanged: deployed with the source document's curl lines, asleep, woken."""

from __future__ import annotations

import itertools
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import TASK_PATH
from tests.e2e.herd import herd
from tests.e2e.platform import Platform, host_of
from tests.source_document import CREATE_PLAIN, CREATE_TISH, UPLOAD, Shell
from tests.support import eventually

PAGE = "<h1>served by somebody else</h1>"
NODE = """#!/usr/bin/env node
const { createServer } = require("node:http");
const { readFileSync } = require("node:fs");
createServer((request, response) => response.end(readFileSync("FOLDER/index.html")))
  .listen(process.env.PORT, process.env.HOST, () => console.log("listening"));
"""
SCRIPTS = {
    "busybox": '#!/bin/sh\nexec busybox httpd -f -v -p "$HOST:$PORT" -h FOLDER\n',
    "caddy": '#!/bin/sh\nHOME=$PWD exec caddy file-server --listen "$HOST:$PORT" --root FOLDER\n',
    "python3": '#!/bin/sh\nexec python3 -m http.server "$PORT" --bind "$HOST" --directory FOLDER\n',
    "node": NODE,
}
_names = itertools.count(1)


@pytest.fixture
def site(common: Path) -> Iterator[Path]:
    (common / "index.html").write_text(PAGE)
    yield common


def shell_for(server: Platform, artifact: Path) -> Shell:
    """With an app, and the file uploaded."""
    made = Shell(server.api_url)
    name = f"third-party-{next(_names)}"
    made.variables |= {"FILE": str(artifact), "APP_ID": server.app(name)["id"]}
    made.variables["ARTIFACT_ID"] = made.run(UPLOAD)
    return made


def program(name: str) -> str:
    """Where it is for a task."""
    missing = [tool for tool in ("curl", "jq", "bash") if shutil.which(tool) is None]
    found = shutil.which(name, path=TASK_PATH)
    if found is None or missing:
        pytest.skip(f"not installed: {', '.join([*missing, *([] if found else [name])])}")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serves_sleeps_and_wakes(server: Platform, deployment_id: str) -> None:
    """Right content warm and cold; forty at once wake it once."""
    running = server.wait(deployment_id, lambda d: d["status"] != "pending", 40)
    assert running["status"] == "running", running["reason"]
    host = host_of(running)
    assert PAGE in server.get(host).text
    server.sleep(deployment_id)
    answers = herd(server.gateway_url, host, 40)
    assert [answer.status for answer in answers] == [200] * 40
    assert all(PAGE in answer.text for answer in answers)
    assert len(eventually(lambda: len(t := server.tasks(deployment_id)) > 1 and t)) == 2


@pytest.mark.needs("busybox", "caddy", "python3", "node", "curl", "jq")
@pytest.mark.parametrize("name", SCRIPTS)
def test_through_a_script(server: Platform, site: Path, name: str) -> None:
    """The platform chooses the port."""
    program(name)
    script = site / "server"
    script.write_text(SCRIPTS[name].replace("FOLDER", str(site)))
    shell = shell_for(server, script)
    serves_sleeps_and_wakes(server, shell.run(CREATE_PLAIN, ".id"))


@pytest.mark.needs("busybox", "caddy", "python3", "node", "curl", "jq")
@pytest.mark.parametrize("name", SCRIPTS)
def test_on_a_port_of_its_own(server: Platform, site: Path, name: str) -> None:
    """The document's own line for a binary names port 8080; here it is one that is free on this machine."""
    program(name)
    script = site / "server"
    script.write_text(SCRIPTS[name].replace("FOLDER", str(site)))
    shell = shell_for(server, script)
    port = free_port()
    deployment_id = shell.run(CREATE_TISH.replace("8080", str(port)), ".id")
    serves_sleeps_and_wakes(server, deployment_id)
    [task] = eventually(lambda: server.tasks(deployment_id, "running"))
    assert task["published_port"] == port


@pytest.mark.needs("caddy", "curl", "jq")
def test_a_binary_of_fifty_megabytes_as_it_is(server: Platform, site: Path) -> None:
    """Caddy's own executable is the artifact; its arguments are the deployment's."""
    shell = shell_for(server, Path(program("caddy")))
    port = free_port()
    body = {
        "artifact_id": shell.variables["ARTIFACT_ID"],
        "args": ["file-server", "--listen", f"127.0.0.1:{port}", "--root", str(site)],
        "networking": {"port": port},
        "env": {"HOME": str(site)},
    }
    made = server.api("POST", f"/apps/{shell.variables['APP_ID']}/deployments", body)
    serves_sleeps_and_wakes(server, made.json["id"])
