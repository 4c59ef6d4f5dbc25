"""Serve's link to the keeper: starts one, speaks from any thread, and has another at once when it is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from platformd.keeper import linux
from platformd.links.keeper import KeeperLink, KeeperRefused, KeeperUnavailable, Welcome
from tests.keeper.rig import Rig
from tests.keeper.test_sockets import answer, gateway_order
from tests.support import eventually


class Serve:
    """A link, what it told, and the keepers it started."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.events: list[dict[str, Any]] = []
        self.losses = 0
        self.pids: list[int] = []
        self.link = self.new_link()

    def new_link(self) -> KeeperLink:
        return KeeperLink(self.data_dir, asyncio.get_running_loop(), self.events.append, self.lost)

    def lost(self) -> None:
        self.losses += 1

    async def connect(self) -> Welcome:
        welcome = await self.link.connect()
        self.pids.append(welcome.pid)
        return welcome

    def launch(self, task: str, script: str) -> None:
        env = {"PATH": os.defpath, "TASK_ID": task}
        ids = {"task": task, "deployment": "d1", "slot": 0, "generation": 1}
        self.link.send({"op": "launch", **ids, "argv": ["/bin/sh", "-c", script], "env": env})

    async def event(self, op: str, **fields: Any) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            for event in self.events:
                if event["op"] == op and all(event.get(key) == value for key, value in fields.items()):
                    self.events.remove(event)
                    return event
            return None

        event = await soon(found)
        assert event is not None
        return event


async def soon(condition: Callable[[], Any]) -> Any:
    """`eventually`, while the loop goes on."""
    return await asyncio.to_thread(eventually, condition, 15.0)


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    serve = Serve(data_dir)
    yield serve
    serve.link.close()
    ender = Rig.of_running(data_dir)
    ender.pids += serve.pids
    ender.close()


async def test_it_starts_a_keeper_that_is_nobodys_child(serve: Serve) -> None:
    welcome = await serve.connect()
    assert not welcome.outdated
    assert welcome.tasks == () and welcome.sockets == () and welcome.gateway_pid is None
    parent, session = parent_and_session(welcome.pid)
    assert parent != os.getpid() and session == welcome.pid


def parent_and_session(pid: int) -> tuple[int, int]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[1]), int(fields[3])


async def test_a_second_serve_takes_over_for_good(serve: Serve) -> None:
    await serve.connect()
    first, serve.link = serve.link, serve.new_link()
    await serve.connect()
    await soon(lambda: serve.losses == 0 and first._closed)
    with pytest.raises(KeeperUnavailable):
        await first.request({"op": "ping"}, ["pong"])
    assert (await serve.link.request({"op": "ping"}, ["pong"]))[0]["op"] == "pong"
    first.close()


async def test_launches_go_out_from_any_thread(serve: Serve) -> None:
    await serve.connect()
    threads = [
        threading.Thread(target=lambda name=f"t{n}": serve.launch(name, "exit 3"))  # type: ignore[misc]
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    for n in range(20):
        assert (await serve.event("exited", task=f"t{n}"))["code"] == 3
        await serve.event("launched", task=f"t{n}")


async def test_a_burst_beyond_the_socket_buffer_keeps_its_order(serve: Serve) -> None:
    welcome = await serve.connect()
    os.kill(welcome.pid, signal.SIGSTOP)
    try:
        for n in range(2_000):
            line = {"stream": "stdout", "lines": [f"{n} {'x' * 20_000}"]}
            serve.link.send({"op": "log", "deployment": "d1", "task": "t1", **line})
    finally:
        os.kill(welcome.pid, signal.SIGCONT)
    assert (await serve.link.request({"op": "ping"}, ["pong"]))[0] == {"op": "pong"}
    lines = Rig.of_running(serve.data_dir).lines(limit=10_000)
    assert [int(line.split()[0]) for line in lines] == list(range(2_000))


async def test_a_lost_keeper_is_replaced_and_given_what_it_held(serve: Serve) -> None:
    await serve.connect()
    order = gateway_order()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await serve.link.offer("gateway", listener)
        address = listener.getsockname()
    gateway = await serve.link.gateway(order["argv"], order["env"], order["sockets"])
    serve.pids.append(gateway)
    serve.launch("t1", "exec sleep 100")
    pid = (await serve.event("launched"))["pid"]
    await soon((serve.data_dir / "run" / "t1" / "launch.json").exists)
    keeper = serve.pids[0]
    for turn in range(3):
        os.kill(keeper, signal.SIGKILL)
        resynced = await serve.event("resynced")
        keeper = resynced["pid"]
        serve.pids.append(keeper)
        assert [(task["task"], task["pid"], task["exit"]) for task in resynced["tasks"]] == [
            ("t1", pid, None)
        ]
        assert (await serve.event("gateway_started"))["pid"] == gateway
        assert serve.losses == turn + 1
        assert await asyncio.to_thread(answer, address) == gateway
    sock = await serve.link.take("gateway")
    assert sock is not None and sock.getsockname() == address
    sock.close()


async def test_while_there_is_no_keeper_sending_says_so(serve: Serve) -> None:
    with pytest.raises(KeeperUnavailable):
        serve.link.send({"op": "ping"})
    welcome = await serve.connect()
    os.kill(welcome.pid, signal.SIGSTOP)
    pending = asyncio.ensure_future(serve.link.request({"op": "ping"}, ["pong"]))
    await asyncio.sleep(0)
    os.kill(welcome.pid, signal.SIGKILL)
    with pytest.raises(KeeperUnavailable):
        await pending
    serve.pids.append((await serve.event("resynced"))["pid"])


async def test_an_upgrade_keeps_the_connection(serve: Serve) -> None:
    welcome = await serve.connect()
    serve.launch("t1", "exec sleep 100")
    await serve.event("launched")
    assert await serve.link.upgrade() == welcome.version
    assert (await serve.link.request({"op": "ping"}, ["pong"]))[0]["op"] == "pong"
    assert serve.losses == 0


async def test_refusals_come_as_errors(serve: Serve) -> None:
    await serve.connect()
    with pytest.raises(KeeperRefused, match="gateway"):
        await serve.link.gateway([sys.executable], {}, ["gateway"])
    with pytest.raises(KeeperRefused, match="one descriptor"):
        await serve.link.request({"op": "offer", "name": "x"}, ["offered"])
    assert await serve.link.take("nothing") is None


async def test_goodbye_lets_the_keeper_leave(serve: Serve) -> None:
    welcome = await serve.connect()
    await serve.link.bye()
    await soon(lambda: linux.start_time(welcome.pid) is None)
    assert serve.losses == 0


async def test_a_keeper_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    link = KeeperLink(tmp_path, asyncio.get_running_loop(), lambda event: None, lambda: None)
    with pytest.raises(KeeperUnavailable, match="run"):
        await link.connect()
    link.close()
