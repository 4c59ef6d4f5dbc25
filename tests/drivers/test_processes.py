"""What the driver knows of cgroups and processes: files, belonging, identity."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from platformd.drivers import adoption, cgroup, killset, proc
from platformd.drivers.cgroup_places import Cgroups, Mount
from platformd.drivers.killset import Family, Markers, Scan
from tests.support import eventually

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
