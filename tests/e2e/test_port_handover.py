"""Two versions that want the same fixed port: the older makes room, requests are held, and it comes back if need be."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

from tests.e2e.platform import Answer, Platform


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fixed(platform: Platform, tiny: Path, app: Any, port: int, wait: bool = True, **env: str) -> Any:
    return platform.deploy(
        tiny, app["id"], wait, environment="production", networking={"port": port}, env=env
    )


def test_the_newer_version_gets_the_port_and_held_requests(platform: Platform, tiny: Path) -> None:
    app, port = platform.app(), free_port()
    host = f"{app['subdomain']}.localhost"
    older = fixed(platform, tiny, app, port)
    first = platform.get(host, "/pid").text
    newer = fixed(platform, tiny, app, port, wait=False, START_MS="1500")
    platform.wait(older["id"], lambda d: d["phase"] == "asleep")

    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(platform.get(host, "/pid")))
    asking.start()
    platform.wait(newer["id"], lambda d: d["current"])
    asking.join(20)

    assert answers[0].status == 200
    assert answers[0].text != first
    assert int(answers[0].text) == platform.tasks(newer["id"], "running")[0]["pid"]
    assert platform.deployment(older["id"])["superseded_by"] == newer["id"]


def test_the_older_version_starts_again_when_the_newer_fails(platform: Platform, tiny: Path) -> None:
    app, port = platform.app(), free_port()
    older = fixed(platform, tiny, app, port)
    newer = fixed(platform, tiny, app, port, wait=False, EXIT_CODE="3")
    platform.wait(newer["id"], lambda d: d["status"] == "failed", timeout=30)
    platform.wait(older["id"], lambda d: d["phase"] == "ready", timeout=30)
    assert platform.get(f"{app['subdomain']}.localhost").status == 200
    assert platform.deployment(older["id"])["current"]
