"""Listening sockets and the gateway: held while serve is away, handed on, given up when nobody comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from platformd.keeper import linux
from tests.keeper.rig import Message, Rig
from tests.support import eventually

GATEWAY = """
import os, signal, socket, sys
sys.stdout.write(f"{os.environ['LISTEN_FDS']} {os.environ['LISTEN_FDNAMES']} {sys.argv[1:]}\\n"); sys.stdout.flush()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
names = os.environ['LISTEN_FDNAMES'].split(':')
sock = socket.socket(fileno=3 + names.index('gateway'))
while True:
    peer, _ = sock.accept()
    peer.sendall(str(os.getpid()).encode())
    peer.close()
"""


def gateway_order(tag: str = "a", names: tuple[str, ...] = ("gateway",)) -> Message:
    argv = [sys.executable, "-I", "-S", "-c", GATEWAY, tag]
    return {"op": "gateway", "argv": argv, "env": {"PATH": os.defpath, "TAG": tag}, "sockets": list(names)}


def offer(rig: Rig, name: str, sock: socket.socket) -> None:
    rig.client.send({"op": "offer", "name": name}, [sock.fileno()])
    rig.client.wait("offered", name=name)


@pytest.fixture
def listener(rig: Rig) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=200) as sock:
        yield sock


def start_gateway(rig: Rig, order: Message | None = None) -> int:
    rig.client.send(order or gateway_order())
    pid = int(rig.client.wait("gateway_started")["pid"])
    rig.pids.append(pid)
    return pid


def answer(address: tuple[str, int]) -> int:
    """The pid of the gateway that answers; connections queue while there is none."""
    with socket.create_connection(address, timeout=20) as peer:
        return int(peer.recv(100))


def test_a_socket_comes_back_as_the_very_same(rig: Rig, listener: socket.socket) -> None:
    offer(rig, "api", listener)
    client = rig.connect()
    assert client.welcome["sockets"] == ["api"]
    client.send({"op": "take", "name": "api"})
    _, fds = client.wait_with_fds("socket", name="api")
    assert os.fstat(fds[0]).st_ino == os.fstat(listener.fileno()).st_ino
    os.close(fds[0])
    client.send({"op": "take", "name": "other"})
    client.wait("no_socket", name="other")
    client.send({"op": "offer", "name": "api"})
    assert "one descriptor" in client.wait("error")["message"]


def test_no_connection_is_refused_while_gateways_die(rig: Rig, listener: socket.socket) -> None:
    offer(rig, "gateway", listener)
    address = listener.getsockname()
    listener.close()
    pid = start_gateway(rig)
    for _ in range(5):
        assert answer(address) == pid
        os.kill(pid, signal.SIGKILL)
        assert rig.client.wait("gateway_exited")["code"] == -signal.SIGKILL
        assert answer(address) != pid
        pid = rig.client.wait("gateway_started")["pid"]
        rig.pids.append(pid)
    eventually(lambda: len(rig.lines("platformd", task="gateway")) == 6)
    assert set(rig.lines("platformd")) == {"1 gateway ['a']"}


def test_the_same_order_again_changes_nothing_and_another_replaces(rig: Rig, listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as extra:
        offer(rig, "api", extra)
    offer(rig, "gateway", listener)
    pid = start_gateway(rig)
    assert start_gateway(rig) == pid
    eventually(lambda: rig.lines("platformd") == ["1 gateway ['a']"])
    both = gateway_order("b", ("api", "gateway"))
    other = start_gateway(rig, both)
    assert other != pid
    assert rig.client.wait("gateway_exited", pid=pid)["code"] == 0
    assert answer(listener.getsockname()) == other
    eventually(lambda: rig.lines("platformd", tail=1) == ["2 api:gateway ['b']"])
    with socket.create_server(("127.0.0.1", 0)) as moved:
        offer(rig, "gateway", moved)
        third = start_gateway(rig, both)
        assert third != other, "it must listen on the socket that is offered now"
        assert answer(moved.getsockname()) == third


def test_a_gateway_that_cannot_start_is_told_and_tried_again(
    rig: Rig, listener: socket.socket, tmp_path: Path
) -> None:
    rig.client.send(gateway_order())
    assert "gateway" in rig.client.wait("gateway_failed")["message"]
    offer(rig, "gateway", listener)
    program = tmp_path / "later"
    rig.client.send({**gateway_order(), "argv": [str(program)]})
    assert str(program) in rig.client.wait("gateway_failed")["message"]
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(0o755)
    rig.client.wait("gateway_started")


def test_a_gateway_outlives_its_keeper_and_is_not_doubled(rig: Rig, listener: socket.socket) -> None:
    offer(rig, "gateway", listener)
    pid = start_gateway(rig)
    rig.kill_keeper()
    assert answer(listener.getsockname()) == pid
    client = rig.restart()
    assert client.welcome["gateway_pid"] == pid
    offer(rig, "gateway", listener)
    assert start_gateway(rig) == pid
    os.kill(pid, signal.SIGKILL)
    client.wait("gateway_exited", pid=pid)
    assert client.wait("gateway_started")["pid"] != pid


def test_after_keeper_and_serve_died_the_listener_is_had_from_the_gateway(
    rig: Rig, listener: socket.socket
) -> None:
    offer(rig, "gateway", listener)
    pid = start_gateway(rig)
    inode = os.fstat(listener.fileno()).st_ino
    listener.close()
    rig.kill_keeper()
    client = rig.restart()
    if not _may_take_descriptors(pid):
        pytest.skip("the kernel lets no process have another's descriptors")
    client.send({"op": "take", "name": "gateway"})
    _, fds = client.wait_with_fds("socket")
    assert os.fstat(fds[0]).st_ino == inode
    os.close(fds[0])


def _may_take_descriptors(pid: int) -> bool:
    fd = linux.fetch_descriptor(pid, 3)
    if fd is not None:
        os.close(fd)
    return fd is not None


def refused(address: tuple[str, int]) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(address, timeout=5):
        return False
    return True


def test_serve_vanishes_and_nobody_comes(no_leaks: None, tmp_path: Path) -> None:
    """After the grace the listeners are dropped, the gateway ends, and the keeper leaves with the last task."""
    rig = Rig(tmp_path / "data", grace=0.3)
    try:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            offer(rig, "gateway", sock)
            address = sock.getsockname()
        gateway, keeper = start_gateway(rig), rig.keeper_pid
        task = rig.launch("t1", "while [ ! -e go ]; do sleep 0.02; done; exit 3")["pid"]
        rig.client.close()
        eventually(lambda: linux.start_time(gateway) is None)
        eventually(lambda: refused(address))
        assert linux.start_time(keeper) is not None, "a task lives"
        (rig.data_dir / "work" / "t1" / "go").touch()
        eventually(lambda: linux.start_time(task) is None and linux.start_time(keeper) is None)
        assert not (rig.data_dir / "run" / "keeper.sock").exists()
        assert rig.restart().tasks["t1"]["exit"]["code"] == 3, "what ended meanwhile is known"
    finally:
        rig.close()


def test_a_serve_that_comes_back_in_time_finds_all_as_it_was(no_leaks: None, tmp_path: Path) -> None:
    rig = Rig(tmp_path / "data", grace=1.0)
    try:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            offer(rig, "gateway", sock)
            pid = start_gateway(rig)
            for _ in range(3):
                rig.client.close()
                rig.client = rig.connect()
            quiet = linux.boot_ns()
            eventually(lambda: linux.boot_ns() - quiet > 1_500_000_000)
            assert rig.client.welcome["gateway_pid"] == pid
            assert answer(sock.getsockname()) == pid
    finally:
        rig.close()


def test_goodbye_ends_the_gateway_at_once_and_the_keeper_with_the_last_task(
    rig: Rig, listener: socket.socket
) -> None:
    offer(rig, "gateway", listener)
    gateway, keeper = start_gateway(rig), rig.keeper_pid
    address = listener.getsockname()
    listener.close()
    task = rig.launch("t1", "exec sleep 100")["pid"]
    rig.client.send({"op": "bye"})
    rig.client.wait("bye")
    assert rig.client.sock.recv(10) == b""
    eventually(lambda: linux.start_time(gateway) is None and refused(address))
    assert linux.start_time(keeper) is not None
    os.kill(task, signal.SIGTERM)
    eventually(lambda: linux.start_time(keeper) is None)


def test_a_termination_signal_is_for_serve_to_decide(rig: Rig) -> None:
    keeper = rig.keeper_pid
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(keeper, number)
    assert rig.client.ping() < 5
    rig.client.close()
    eventually(lambda: os.kill(keeper, signal.SIGTERM) is None and linux.start_time(keeper) is None)
