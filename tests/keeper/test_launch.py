"""Starting native tasks: what they get, what they do not get, and every way a start can fail."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from platformd.keeper.folders import MOST_SPARES
from platformd.links.start import command
from tests.keeper.rig import NOBODY, Rig, names_in, python
from tests.support import eventually

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")


def test_a_task_gets_its_environment_and_nothing_else(rig: Rig) -> None:
    rig.run("t1", ["/usr/bin/env"], env={"GREETING": "grüß\ndich"})
    env = {"PATH": os.defpath, "TASK_ID": "t1", "DEPLOYMENT_ID": "d1", "GREETING": "grüß"}
    assert sorted(rig.lines()) == sorted([*(f"{name}={value}" for name, value in env.items()), "dich"])


def test_a_task_has_its_own_session_folder_and_streams_and_inherits_nothing(rig: Rig) -> None:
    answer = rig.launch(
        "t1", "readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2; pwd; umask; exec sleep 100"
    )
    pid = answer["pid"]
    eventually(lambda: len(rig.lines()) == 5)
    run, work = rig.data_dir / "run" / "t1", rig.data_dir / "work" / "t1"
    assert rig.lines() == ["/dev/null", f"{run}/out", f"{run}/err", str(work), "0022"]
    assert os.getsid(pid) == pid
    assert names_in(f"/proc/{pid}/fd") == ["0", "1", "2"]
    assert stat.S_IMODE(work.stat().st_mode) == 0o700
    ignored = Path(f"/proc/{pid}/status").read_text().split("SigIgn:\t")[1].split()[0]
    reserved = 0b11 << 31  # the C library's own two, which its posix_spawn always ignores
    assert int(ignored, 16) & ~reserved == 0, "signals must be as after a login"


def test_the_same_task_is_never_started_twice(rig: Rig) -> None:
    first = rig.launch("t1", "exec sleep 100")
    assert rig.launch("t1", "exec sleep 100") == first
    assert rig.run("t2", "exit 4")["code"] == 4
    again = rig.launch("t2", "exit 4")
    assert again["op"] == "launched"
    assert rig.exited("t2")["code"] == 4


@AS_ROOT
def test_a_task_runs_as_its_user_without_a_way_back(rig: Rig) -> None:
    script = (
        "import os\nprint(os.getresuid(), os.getresgid(), os.getgroups())\n"
        "print(open('/proc/self/status').read().split('CapPrm:')[1].split()[0])\n"
        "open('mine', 'w').close(); print(os.stat('mine').st_uid)\n"
        "open('/dev/stderr', 'w').write('by path\\n')\n"
        "try: os.setresuid(0, 0, 0)\nexcept PermissionError: print('stays')\n"
    )
    assert rig.run("t1", python(script), uid=NOBODY, gid=NOBODY)["code"] == 0, rig.lines()
    three = f"({NOBODY}, {NOBODY}, {NOBODY})"
    assert rig.lines(stream="stdout") == [f"{three} {three} [{NOBODY}]", "0" * 16, str(NOBODY), "stays"]
    assert rig.lines(stream="stderr") == ["by path"]
    rig.run("t2", "id -u; id -G; pwd")
    assert rig.lines(task="t2") == ["0", " ".join(map(str, _groups())), str(rig.data_dir / "work" / "t2")]


def _groups() -> list[int]:
    return list(dict.fromkeys([os.getgid(), *os.getgroups()]))


def test_limits_hold_for_the_task_only(rig: Rig) -> None:
    before = Path(f"/proc/{rig.keeper_pid}/limits").read_text()
    rig.run("t1", "ulimit -n; ulimit -c; ulimit -f", rlimits={"NOFILE": 77, "CORE": 0, "FSIZE": 512_000})
    assert rig.lines() == ["77", "0", "1000"]
    rig.run("t2", "ulimit -n", deployment="d2")
    assert rig.lines("d2") == [str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])]
    assert Path(f"/proc/{rig.keeper_pid}/limits").read_text() == before
    assert rig.launch("t3", "true", rlimits={"COFFEE": 1})["code"] == "EINVAL"


def test_out_of_memory_the_tasks_go_first(rig: Rig) -> None:
    pid = rig.launch("t1", "exec sleep 100")["pid"]
    own = Path("/proc/self/oom_score_adj").read_text()
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == own
    if _may_lower_oom_score():
        assert int(Path(f"/proc/{rig.keeper_pid}/oom_score_adj").read_text()) < int(own)


def _may_lower_oom_score() -> bool:
    command = "echo -900 > /proc/self/oom_score_adj"
    return subprocess.run(["sh", "-c", command], stderr=subprocess.DEVNULL).returncode == 0


def make(folder: Path, name: str, content: bytes, mode: int = 0o755) -> str:
    path = folder / name
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_every_way_a_start_fails_is_told_and_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    elf = b"\x7fELF\x02\x01\x01" + os.urandom(4000)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
        hopeless: dict[str, tuple[list[str], dict[str, object], str]] = {
            "absent": (["/nowhere/at/all"], {}, "ENOENT"),
            "not-in-path": (["no-such-program"], {}, "ENOENT"),
            "no-x-bit": ([make(tmp_path, "plain", b"#!/bin/sh\n", 0o644)], {}, "EACCES"),
            "folder": ([str(tmp_path)], {}, "EACCES"),
            "garbage": ([make(tmp_path, "elf", elf)], {}, "ENOEXEC"),
            "no-shebang": ([make(tmp_path, "text", b"echo hi\n")], {}, "ENOEXEC"),
            "no-interpreter": ([make(tmp_path, "script", b"#!/no/such/sh\n")], {}, "ENOENT"),
            "empty": ([make(tmp_path, "nothing", b"")], {}, "ENOEXEC"),
            "too-big": (["/bin/true"], {"env": {"BIG": "x" * 300_000}}, "E2BIG"),
            "nul": (["/bin/true", "a\0b"], {}, "EINVAL"),
            "bad-name": (["/bin/true"], {"env": {"A=B": "c"}}, "EINVAL"),
            "no-argv": ([], {}, "EINVAL"),
            "number": (["/bin/true", 7], {}, "EINVAL"),  # type: ignore[list-item]
            "no-folder": (["/bin/true"], {"cwd": "/no/such/folder"}, "ENOENT"),
            "port-taken": (["/bin/true"], {"listen": [host, port]}, "EADDRINUSE"),
            "bad-uid": (["/bin/true"], {"uid": -7}, "EINVAL"),
        }
        for task, (argv, fields, code) in hopeless.items():
            answer = rig.launch(task, argv, **fields)
            assert (answer["op"], answer.get("code")) == ("launch_failed", code), (task, answer)
            assert answer["message"]
    kept = [f"{room}/{name}" for name in hopeless for room in ("run", "work")]
    eventually(lambda: not any((rig.data_dir / path).exists() for path in kept))
    assert rig.run("after", "id -u; pwd")["code"] == 0
    assert rig.lines() == [str(os.geteuid()), f"{rig.data_dir}/work/after"]


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "spare-1", "x" * 300, 7, None])
def test_names_that_would_lead_elsewhere_are_refused(rig: Rig, name: object) -> None:
    rig.client.send({**rig.order("x", "true"), "task": name})
    assert rig.client.wait("launch_failed")["code"] == "EINVAL"
    assert rig.client.ping() < 5


def test_a_program_is_found_in_the_path_of_its_own_environment(rig: Rig, tmp_path: Path) -> None:
    make(tmp_path, "greet", b"#!/bin/sh\necho hello\n")
    assert rig.run("t1", ["greet"], env={"PATH": f"/nowhere:{tmp_path}"})["code"] == 0
    assert rig.lines() == ["hello"]


def test_an_environment_of_a_megabyte_arrives(rig: Rig) -> None:
    env = {f"V{number}": "ä" * 10_000 for number in range(50)}
    assert rig.run("t1", ["/usr/bin/env"], env=env)["code"] == 0
    assert sum(len(line) for line in rig.lines()) > 500_000


def test_a_listening_socket_is_handed_over(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as finder:
        port = finder.getsockname()[1]
    server = (
        "import os, socket\n"
        "assert os.environ['LISTEN_PID'] == str(os.getpid()) and os.environ['LISTEN_FDS'] == '1'\n"
        "s = socket.socket(fileno=3)\nprint(os.listdir('/proc/self/fd'))\n"
        "while True:\n c, _ = s.accept(); c.sendall(b'hi'); c.close()\n"
    )
    answer = rig.launch("t1", python(server), listen=["127.0.0.1", port])
    assert answer["op"] == "launched"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        assert peer.recv(10) == b"hi"
    eventually(lambda: rig.lines() == ["['0', '1', '2', '3', '4']"])  # 4 is the listing itself
    assert rig.launch("t2", ["/no/such"], listen=["127.0.0.1", 0])["code"] == "ENOENT"


def test_five_hundred_launches_in_a_row(rig: Rig) -> None:
    for number in range(500):
        rig.client.send(rig.order(f"t{number}", ["/bin/true"]))
    for number in range(500):
        assert rig.client.wait("launched", "launch_failed", task=f"t{number}")["op"] == "launched"
    for number in range(500):
        assert rig.exited(f"t{number}")["code"] == 0
        rig.client.send({"op": "forget", "task": f"t{number}"})
    before = len(names_in(f"/proc/{rig.keeper_pid}/fd"))
    rig.client.ping()
    eventually(lambda: not [name for name in names_in(rig.data_dir / "work") if name.startswith("t")])
    assert before < 150 + 4 * MOST_SPARES
    assert rig.keeper_log() == ""


def test_more_descriptors_than_a_task_may_have_are_no_obstacle(no_leaks: None, tmp_path: Path) -> None:
    """As on most machines: a low soft limit, which is the tasks', and a high hard one, which the keeper uses."""
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        rig = Rig(tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        eventually(lambda: len(names_in(f"/proc/{rig.keeper_pid}/fd")) > 600)
        for number in range(100):
            assert rig.launch(f"t{number}", "ulimit -Sn; exec sleep 100")["op"] == "launched"
        eventually(lambda: rig.lines(task="t99") == ["256"])
        rig.client.send({"op": "upgrade", "argv": command()})
        rig.client.wait("upgraded")
        assert rig.run("after", "ulimit -Sn")["code"] == 0
    finally:
        rig.close()


def test_without_descriptors_left_a_launch_fails_and_the_keeper_lives(rig: Rig) -> None:
    resource.prlimit(rig.keeper_pid, resource.RLIMIT_NOFILE, (100, 100))
    answers = [rig.launch(f"t{number}", "exec sleep 100") for number in range(MOST_SPARES + 60)]
    failed = [answer for answer in answers if answer["op"] == "launch_failed"]
    assert failed and {answer["code"] for answer in failed} == {"EMFILE"}
    started = [answer for answer in answers if answer["op"] == "launched"]
    assert len(started) >= 16 and all(answer["start_time"] > 0 for answer in started)
    assert rig.client.ping() < 5
    for answer in started[:12]:
        os.kill(answer["pid"], 9)
        assert rig.exited(answer["task"])["signal"] == 9
        rig.client.send({"op": "forget", "task": answer["task"]})
    assert rig.launch("again", "exec sleep 100")["op"] == "launched"
    for answer in started[12:]:
        eventually((rig.data_dir / "run" / answer["task"] / "launch.json").exists)
    assert rig.keeper_log() == ""
