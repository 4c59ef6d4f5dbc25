"""Ports: few, taken by others, asked for twice; whoever cannot have one waits and says why, and nobody's is stolen."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.herd import herd
from tests.e2e.platform import Platform, host_of
from tests.support import eventually


def listening(port: int) -> socket.socket:
    """Somebody else's program."""
    foreign = socket.socket()
    try:
        foreign.bind(("127.0.0.1", port))
    except OSError:
        foreign.close()
        raise
    foreign.listen()
    return foreign


def ports_in_a_row(count: int) -> int:
    """The first of `count` ports that nobody uses, below the ones that the kernel and other servers give out."""
    for first in random.sample(range(30100, 32700 - count), 100):
        try:
            for port in range(first, first + count):
                listening(port).close()
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


@contextmanager
def served(data_dir: Path, *flags: str) -> Iterator[Platform]:
    server = Platform(data_dir, *flags)
    try:
        yield server.start()
    finally:
        server.destroy()


def published(server: Platform, deployment: Any) -> list[int]:
    return [task["published_port"] for task in server.tasks(deployment["id"], "running")]


def test_three_ports_a_stranger_on_one_and_five_tasks(data_dir: Path, tiny: Path) -> None:
    first = ports_in_a_row(3)
    stranger = listening(first + 1)
    with stranger, served(data_dir, "--task-ports", f"{first}-{first + 2}") as server:
        deployment = server.deploy(tiny, replicas=5, wait=False)
        shown = server.wait(deployment["id"], lambda d: d["tasks_ready"] == 2 and d["reason"])
        assert (shown["status"], shown["reason"]["code"]) == ("pending", "PORTS_EXHAUSTED")
        assert eventually(lambda: sorted(published(server, deployment)) == [first, first + 2])
        waiting = eventually(lambda: len(t := server.tasks(deployment["id"], "pending")) == 3 and t)
        assert [task["reason"]["code"] for task in waiting] == ["PORTS_EXHAUSTED"] * 3
        answers = herd(server.gateway_url, host_of(deployment), 30)
        assert [answer.status for answer in answers] == [200] * 30
        stranger.settimeout(0)
        try:
            came = stranger.accept()
        except BlockingIOError:
            came = None
        assert came is None, "nobody looks for a task behind a stranger's port"

        stranger.close()
        server.wait(deployment["id"], lambda d: d["tasks_ready"] == 3)
        server.api("PATCH", f"/deployments/{deployment['id']}", {"spec": {"replicas": 3}})
        ready = server.wait(deployment["id"], lambda d: d["status"] == "running")
        assert (ready["tasks_ready"], ready["reason"]) == (3, None)
        assert eventually(lambda: sorted(published(server, deployment)) == [first, first + 1, first + 2])


def test_a_port_comes_back_when_its_task_has_gone(data_dir: Path, tiny: Path) -> None:
    first = ports_in_a_row(1)
    with served(data_dir, "--task-ports", f"{first}-{first}") as server:
        one = server.deploy(tiny)
        two = server.deploy(tiny, wait=False)
        server.wait(two["id"], lambda d: d["reason"] and d["reason"]["code"] == "PORTS_EXHAUSTED")
        server.sleep(one["id"])
        assert server.wait(two["id"], lambda d: d["status"] == "running")["phase"] == "ready"
        assert server.get(host_of(two)).status == 200


def test_a_fixed_port_that_a_stranger_holds_is_waited_for(server: Platform, tiny: Path) -> None:
    port = ports_in_a_row(1)
    with listening(port) as stranger:
        deployment = server.deploy(tiny, networking={"port": port}, wait=False)
        shown = server.wait(deployment["id"], lambda d: d["reason"] is not None)
        assert (shown["status"], shown["reason"]["code"]) == ("pending", "PORT_IN_USE")
        assert str(port) in shown["reason"]["message"]
        stranger.close()
        ready = server.wait(deployment["id"], lambda d: d["status"] == "running")
    assert ready["reason"] is None
    assert eventually(lambda: published(server, deployment) == [port])
    server.api("POST", f"/deployments/{deployment['id']}/cancel")


def test_or_its_deadline_comes(server: Platform, tiny: Path) -> None:
    port = ports_in_a_row(1)
    with listening(port):
        failed = server.deploy(tiny, networking={"port": port}, progress_deadline_secs=2)
    assert (failed["status"], failed["reason"]["code"]) == ("failed", "PROGRESS_DEADLINE")
    assert str(port) in failed["reason"]["message"]


def test_two_apps_do_not_share_a_fixed_port(server: Platform, tiny: Path) -> None:
    """The second waits, says for whom, and comes when the first one goes to sleep."""
    port = ports_in_a_row(1)
    first = server.deploy(tiny, networking={"port": port})
    second = server.deploy(tiny, networking={"port": port}, wait=False)
    shown = server.wait(second["id"], lambda d: d["reason"] is not None)
    assert (shown["status"], shown["reason"]["code"]) == ("pending", "PORT_IN_USE")
    assert server.deployment(first["id"])["phase"] == "ready", "another app's port is never taken away"
    server.api("POST", f"/deployments/{first['id']}/cancel")
    server.wait(second["id"], lambda d: d["status"] == "running")
    assert server.get(host_of(second)).status == 200


def test_a_restart_keeps_what_is_taken(data_dir: Path, tiny: Path) -> None:
    first = ports_in_a_row(3)
    with served(data_dir, "--task-ports", f"{first}-{first + 2}") as server:
        deployment = server.deploy(tiny, replicas=2)
        before = eventually(lambda: len(found := published(server, deployment)) == 2 and sorted(found))
        server.kill()
        server.start()
        third = server.deploy(tiny)
        assert eventually(lambda: published(server, third)) == [*{first, first + 1, first + 2} - {*before}]
        assert eventually(lambda: sorted(published(server, deployment)) == before)
