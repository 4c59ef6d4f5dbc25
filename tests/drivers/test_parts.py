"""The driver's parts by themselves: ports, listeners, launch orders, health, answers, cgroup files, the kill set."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from platformd.domain.events import HealthLost, HealthMissed, HealthRestored
from platformd.domain.spec import DeploymentSpec, Networking, Protocol, Volume
from platformd.drivers import adoption, cgroup, killset, listeners, proc
from platformd.drivers.base import LaunchOrder
from platformd.drivers.cgroup_places import Cgroups, Mount
from platformd.drivers.health import HealthRecord
from platformd.drivers.http_check import final_status
from platformd.drivers.killset import Family, Markers, Scan
from platformd.drivers.launch_order import NativeSettings, Refused, environment, message
from platformd.drivers.ports import Held, Ports
from tests.drivers.rig import free_ports
from tests.support import eventually

# ---- ports ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[int]:
    """A port that a listener of ours holds, and after it some that nobody does."""
    with free_ports() as sock:
        yield sock.getsockname()[1]


def test_ports_are_never_shared_nor_strangers(stranger: int) -> None:
    ports = Ports(range(stranger, stranger + 3))
    taken = [ports.take("a"), ports.take("b")]
    assert sorted(taken) == [stranger + 1, stranger + 2]
    assert ports.take("c") is None
    assert ports.take("a") == taken[0], "asked again, it keeps its port"
    ports.give_back("a")
    assert ports.take("c") == taken[0]


def test_a_port_given_back_rests() -> None:
    ports = Ports(range(24000, 24064))
    first = ports.take("a")
    ports.give_back("a")
    assert ports.take("b") != first


def test_a_wildcard_or_ipv6_listener_holds_a_port() -> None:
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with socket.socket(family) as sock:
            sock.bind((address, 0))
            sock.listen()
            port = sock.getsockname()[1]
            assert Ports(range(port, port + 1)).take("a") is None
            assert Ports(range(1, 2)).take_fixed("a", port) == Held(port, None)


def test_a_closed_connection_keeps_a_chosen_port_but_not_a_fixed_one() -> None:
    """TIME_WAIT: a program without SO_REUSEADDR could not listen there, one that was told the port is let try."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.recv(1)
        client.close()
    assert Ports(range(port, port + 1)).take("a") is None
    assert Ports(range(1, 2)).take_fixed("a", port) is None


def test_a_fixed_port_names_its_holder() -> None:
    ports = Ports(range(24100, 24101))
    assert ports.take("a") == 24100
    assert ports.take_fixed("b", 24100) == Held(24100, "a")
    assert ports.take_fixed("a", 24100) is None


# ---- listeners -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ways", [listeners.open_listeners, listeners.ProcListeners])
@pytest.mark.parametrize(
    ("family", "address", "reachable"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::1", False),
    ],
)
def test_the_listener_a_connection_would_reach(
    ways: type, family: int, address: str, reachable: bool
) -> None:
    found = ways()
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        port = sock.getsockname()[1]
        assert found.at(port) is None, "bound is not listening"
        sock.listen()
        listener = found.at(port)
        assert (listener is not None) == reachable
        if listener is not None:
            assert listener == listeners.Listener(os.fstat(sock.fileno()).st_ino, os.getuid())
            assert listeners.holder(listener.inode, [1, os.getpid()]) == os.getpid()
            assert listeners.holder(listener.inode, [1]) is None
    assert found.at(port) is None
    found.close()


# ---- launch orders -----------------------------------------------------------------------------------------------


def an_order(**spec: object) -> LaunchOrder:
    return LaunchOrder(
        task_id="t1",
        deployment_id="d1",
        slot=2,
        generation=3,
        app_name="demo",
        environment="production",
        spec=DeploymentSpec(**spec),  # type: ignore[arg-type]
        executable=Path("/artifacts/abc"),
    )


def test_the_keepers_message() -> None:
    settings = NativeSettings(data_dir=Path("/data-dir"), run_as=(1234, 1235))
    order = an_order(args=("--fast",), env={"A": "1"}, networking=Networking(protocol=Protocol.HTTP_FD))
    made = message(order, 20001, {"v": 1}, settings)
    assert made["op"] == "launch"
    assert made["argv"] == ["/artifacts/abc", "--fast"]
    assert made["listen"] == ["127.0.0.1", 20001]
    assert "PORT" not in made["env"]
    if os.geteuid() == 0:
        assert (made["uid"], made["gid"]) == (1234, 1235)
    plain = message(
        replace(order, spec=DeploymentSpec(command=("/bin/cat", "x"), args=("y",))), 20001, {}, settings
    )
    assert plain["argv"] == ["/bin/cat", "x", "y"]
    assert "listen" not in plain


def test_its_environment_cannot_lose_what_finds_it() -> None:
    forged = {"TASK_ID": "x", "DEPLOYMENT_ID": "x", "PORT": "1", "HOST": "::", "PATH": "/opt/bin"}
    made = environment(an_order(env=forged), 20001)
    assert (made["TASK_ID"], made["DEPLOYMENT_ID"], made["PORT"]) == ("t1", "d1", "20001")
    assert (made["HOST"], made["PATH"]) == ("::", "/opt/bin")


def test_volumes_are_resolved_at_each_start(tmp_path: Path) -> None:
    data_dir, root = tmp_path / "state", tmp_path / "shared"
    for folder in (
        data_dir / "volumes" / "v",
        data_dir / "artifacts",
        root / "inner",
        tmp_path / "elsewhere",
    ):
        folder.mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "deep").symlink_to(data_dir)
    settings = NativeSettings(data_dir=data_dir, volume_roots=(root,))

    def refusal(path: Path) -> str | None:
        try:
            message(
                an_order(volumes=(Volume(host_path=str(path), container_path=str(path)),)), 1, {}, settings
            )
        except Refused as refused:
            return refused.reason.code
        return None

    assert refusal(root / "inner") is None
    assert refusal(data_dir / "volumes" / "v") is None
    assert refusal(root / "missing") == "VOLUME_MISSING"
    refused = [
        root / "link",
        root / "deep",
        data_dir,
        data_dir / "artifacts",
        tmp_path / "elsewhere",
        Path("/etc"),
    ]
    assert {path: refusal(path) for path in refused} == dict.fromkeys(refused, "VOLUME_NOT_ALLOWED")
    over = NativeSettings(data_dir=data_dir, volume_roots=(tmp_path,))
    with pytest.raises(Refused):
        message(
            an_order(volumes=(Volume(host_path=str(tmp_path), container_path=str(tmp_path)),)), 1, {}, over
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose")
def test_users() -> None:
    settings = NativeSettings(data_dir=Path("/data-dir"))

    def ids(user: str | None) -> tuple[object, object]:
        made = message(an_order(user=user), 1, {}, settings)
        return made["uid"], made["gid"]

    assert ids(None) == (65534, 65534)
    assert ids("1000:1001") == (1000, 1001)
    assert ids("nobody")[0] == 65534
    for wrong in ("root", "0", "0:0", "1000:0", "", "no such", "-1", "1:x"):
        with pytest.raises(Refused):
            ids(wrong)


# ---- health and answers ------------------------------------------------------------------------------------------


def test_three_misses_then_a_minute() -> None:
    record = HealthRecord("/health")
    assert [record.observe(status, at) for at, status in enumerate((200, None, 503, 204, 302, None))] == [
        None
    ] * 6
    assert record.observe(500, 6) == HealthMissed()
    assert record.observe(500, 60) is None
    assert record.observe(200, 61) == HealthRestored()
    assert [record.observe(None, at) for at in (70, 71, 72)] == [None, None, HealthMissed()]
    assert record.observe(None, 131) is None
    lost = record.observe(None, 132)
    assert isinstance(lost, HealthLost)
    assert "no answer" in lost.reason.message
    assert record.observe(None, 300) is None, "told once"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.0 404\r\n", 404),
        (b"HTTP/1.1 204 No", None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\n", 503),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n", None),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"HTTP/1.1 2000 OK\r\n", None),
        (b"", None),
    ],
)
def test_statuses(answer: bytes, status: int | None) -> None:
    assert final_status(answer)[0] == status


# ---- cgroup files ------------------------------------------------------------------------------------------------


def test_version_2_files(tmp_path: Path) -> None:
    folder = tmp_path / "t1"
    group = cgroup.V2(folder, frozenset(("memory", "cpu", "pids")))
    group.create()
    for file in ("memory.swap.max", "memory.oom.group", "cgroup.kill"):
        (folder / file).touch()
    group.limit_memory(64 << 20)
    group.weigh_cpu(250)
    group.cap_cpu(250)
    assert (folder / "memory.max").read_text() == str(64 << 20)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "memory.oom.group").read_text() == "1"
    assert (folder / "cpu.weight").read_text() == "10"
    assert (folder / "cpu.max").read_text() == "25000 100000"
    group.cap_cpu(None)
    assert (folder / "cpu.max").read_text() == "max 100000"
    group.end()
    assert (folder / "cgroup.kill").read_text() == "1"
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n")
    (folder / "cpu.stat").write_text("usage_usec 1500\nuser_usec 1000\n")
    (folder / "memory.current").write_text("9000\n")
    (folder / "memory.stat").write_text("anon 1\ninactive_file 1000\n")
    (folder / "cgroup.procs").write_text("12\n34\n")
    assert (group.oom_kills(), group.cpu_usec(), group.memory(), group.pids()) == (2, 1500, 8000, [12, 34])
    assert not group.remove()


def test_weights_and_quotas() -> None:
    assert [cgroup.shares(millis) for millis in (1, 100, 1000, 10**6)] == [2, 102, 1024, 262144]
    assert [cgroup.weight(millis) for millis in (1, 100, 1000, 10**6)] == [1, 4, 39, 10000]
    assert [cgroup.quota(millis) for millis in (1, 250, 2000)] == [1000, 25000, 200000]


def test_a_mount_that_shows_a_part() -> None:
    mount = Mount(Path("/sys/fs/cgroup"), "/docker/abc", frozenset())
    assert mount.place("/docker/abc/x") == Path("/sys/fs/cgroup/x")
    assert Mount(Path("/c"), "/", frozenset()).place("/a/b") == Path("/c/a/b")


def test_real_groups_of_this_machine(tmp_path: Path) -> None:
    found = Cgroups.detect(tmp_path)
    if not found.usable:
        assert "watched" in found.describe()
        return
    group = found.group("t1")
    group.create()
    process = subprocess.Popen(["sleep", "60"])
    try:
        group.add(process.pid)
        assert group.pids() == [process.pid]
        assert found.left_behind() == ["t1"]
        assert found.group_of(process.pid, "t1") is not None
        assert found.group_of(process.pid, "t2") is None
        assert not group.remove()
    finally:
        process.kill()
        process.wait()
    eventually(group.remove)
    assert group.remove(), "twice is fine"
    found.tidy()


# ---- processes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def family() -> Iterator[Family]:
    """A marked process with a child in its session, a marked one outside it, and a bare one in none of both."""
    code = """
import os, subprocess, time
subprocess.Popen(["sleep", "301"], env={})
subprocess.Popen(["sleep", "302"], start_new_session=True)
print("up", flush=True)
time.sleep(300)
"""
    first = subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        env={"TASK_ID": "the-task"},
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == b"up\n"
    process = proc.read(first.pid)
    assert process is not None
    found = Family("the-task", first.pid, process.start_time)
    yield found
    for member in [
        *killset.find(found),
        *(proc.read(pid) for pid in proc.pids() if "sleep 30" in proc.command(pid)),
    ]:
        if member is not None:
            proc.send(member.pid, member.start_time, 9)
    first.stdout.close()
    first.wait()


def commands(processes: list[proc.Process]) -> set[str]:
    return {proc.command(process.pid).split("/")[-1].split(" -S")[0] for process in processes}


def test_the_kill_set(family: Family) -> None:
    eventually(lambda: {"sleep 301", "sleep 302"} <= commands(killset.find(family)))
    assert len(killset.find(family)) == 3
    by_marker = Family("the-task", 0, 0, session_counts=False)
    assert {process.pid for process in killset.find(by_marker)} == {
        process.pid for process in killset.find(family)
    }


def test_a_number_used_again_is_nobodys(family: Family) -> None:
    """The pid lives, but it is another process by its start time."""
    former = Family("another-task", family.pid, family.start_time - 5)
    assert killset.find(former) == []
    assert not proc.send(family.pid, family.start_time - 5, 9)
    assert proc.alive(family.pid, family.start_time)


def test_handles_that_lie(family: Family) -> None:
    boot = "b"
    handle = {"v": 1, "boot": boot, "pid": family.pid, "start_time": family.start_time, "port": 1}
    assert adoption.verified("the-task", handle, boot) is not None
    lies: list[dict[str, object]] = [
        {"pid": 1},
        {"pid": os.getpid()},
        {"start_time": family.start_time + 1},
        {"boot": "other"},
        {"v": 2},
        {"pid": str(family.pid)},
        {"pid": True},
        {"pid": -1},
    ]
    assert [adoption.verified("the-task", {**handle, **lie}, boot) for lie in lies] == [None] * len(lies)
    assert adoption.verified("a-task", handle, boot) is None
    assert adoption.verified("the-task", None, boot) is None


def test_markers_are_read_once_and_forgotten(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    markers = Markers()
    Scan(markers, family.start_time)
    read: list[int] = []
    environ = proc.environ
    monkeypatch.setattr(proc, "environ", lambda pid: read.append(pid) or environ(pid))
    assert len(Scan(markers, family.start_time).members(family)) == 3
    assert family.pid not in read
    markers.keep([])
    Scan(markers, family.start_time)
    assert family.pid in read


def test_long_lists_of_children_are_whole() -> None:
    parent = subprocess.Popen(
        ["/bin/sh", "-c", "i=0; while [ $i -lt 900 ]; do sleep 300 & i=$((i+1)); done; echo up; wait"],
        stdout=subprocess.PIPE,
    )
    try:
        assert parent.stdout is not None
        parent.stdout.readline()
        found = proc.children(parent.pid)
        assert found is not None
        assert len(found) == 900
        assert set(proc.below([parent.pid]) or ()) == set(found)
    finally:
        for pid in proc.children(parent.pid) or ():
            os.kill(pid, 9)
        parent.stdout.close()
        parent.wait()


def test_signal_names() -> None:
    assert [adoption.signal_name(value) for value in (9, 15, 34, 37)] == [
        "SIGKILL",
        "SIGTERM",
        "SIGRTMIN",
        "SIGRTMIN+3",
    ]
