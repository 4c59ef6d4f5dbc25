"""`platformd doctor`: each check on machines as they might be, and the whole on this one."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from platformd.cli import machine
from platformd.cli.doctor import doctor
from platformd.cli.machine import Check
from platformd.setting_kinds import Account


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "fs").mkdir()
    return tmp_path / "fs"


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name.removeprefix("cgroup "): check for check in checks}


def test_unified_cgroups(root: Path, own: Path) -> None:
    own.write_text("0::/user.slice/mine\n")
    mine = root / "user.slice" / "mine"
    mine.mkdir(parents=True)
    (root / "cgroup.controllers").write_text("cpu memory pids io\n")
    (mine / "cgroup.controllers").write_text("memory pids\n")
    found = by_name(machine.cgroups(root, own))
    assert {name: check.status for name, check in found.items()} == {
        "cpu": "warn", "memory": "ok", "pids": "ok", "freezer": "ok"}  # fmt: skip
    assert found["memory"].finding == f"v2, writable at {mine}"
    assert "delegate" in found["cpu"].advice
    assert [entry.name for entry in mine.iterdir()] == ["cgroup.controllers"]


def test_split_cgroups_as_a_container_shows_them(root: Path, own: Path) -> None:
    own.write_text("4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n")
    (root / "memory" / "docker" / "abc").mkdir(parents=True)
    (root / "cpu").mkdir()
    found = by_name(machine.cgroups(root, own))
    assert found["memory"].finding == f"v1, writable at {root}/memory/docker/abc"
    assert found["cpu"].finding == f"v1, writable at {root}/cpu"
    assert found["pids"].finding == found["freezer"].finding == "not there"


def test_no_cgroups_at_all(root: Path, own: Path) -> None:
    assert {check.status for check in machine.cgroups(root, own)} == {"warn"}


def test_a_controller_that_is_not_writable(root: Path, own: Path) -> None:
    own.write_text("4:memory:/\n")
    (root / "memory").write_text("no folder")
    found = by_name(machine.cgroups(root, own))
    assert (found["memory"].status, "is not writable" in found["memory"].finding) == ("warn", True)


@pytest.mark.parametrize(
    ("release", "status"),
    [("6.18.44-fc", "ok"), ("5.4.0-generic", "ok"), ("5.3.18", "fail"), ("4.19.0", "fail"), ("7.0", "ok")],
)
def test_kernels(release: str, status: str) -> None:
    assert machine.kernel(release).status == status


def test_exit_codes_are_found_out_without_leaving_a_child(no_leaks: None) -> None:
    assert machine.exit_codes().status in ("ok", "warn")


def test_accounts() -> None:
    assert machine.account(None, uid=0).finding == "root; native tasks run as 65534:65534"
    assert machine.account(Account(7, 8), uid=0).finding == "root; native tasks run as 7:8"
    assert machine.account(None, uid=1000).status == "warn"
    assert machine.account(Account(1000, 1000), uid=1000).status == "warn"
    assert machine.account(Account(7, 8), uid=1000).status == "fail"


@pytest.mark.parametrize(
    ("ephemeral", "status"),
    [("32768\t60999\n", "ok"), ("30000 60999", "ok"), ("29999 60999", "warn"), ("1024 65535", "warn"),
     ("1024 20000", "warn"), ("1024 19999", "ok"), ("25000 25001", "warn"), ("", "warn"), ("x y", "warn")],
)  # fmt: skip
def test_task_ports_against_the_ephemeral_range(ephemeral: str, status: str, tmp_path: Path) -> None:
    source = tmp_path / "range"
    source.write_text(ephemeral)
    assert machine.task_ports(range(20000, 30000), source).status == status
    assert machine.task_ports(range(20000, 30000), tmp_path / "none").status == "warn"


def test_listening(no_leaks: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        check = machine.listening("api port", "--port", "127.0.0.1", port)
        assert (check.status, check.finding) == ("warn", f"127.0.0.1:{port} is in use")
        assert "--port" in check.advice
    assert machine.listening("api port", "--port", "127.0.0.1", 0).status == "ok"
    assert machine.listening("api port", "--port", "192.0.2.1", 0).status == "fail"
    assert machine.listening("api port", "--port", "no.such.host.invalid", 0).status == "fail"


def test_data_directory(tmp_path: Path) -> None:
    below = tmp_path / "not" / "yet"
    assert machine.data_directory(below).status in ("ok", "warn", "fail")
    assert str(below) in machine.data_directory(below).finding
    assert not below.parent.exists()
    file = tmp_path / "file"
    file.touch()
    assert machine.data_directory(file).finding == f"{file} is no directory"
    assert machine.data_directory(file / "x").status == "fail"
    assert machine.data_directory(Path("/proc/nothing")).status == "fail"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try to be another account")
def test_an_account_that_may_not_look_gets_findings(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        found = machine.data_directory(closed / "not" / "yet")
        limits = machine.cgroups(closed / "fs", closed / "own")
    finally:
        os.seteuid(0)
    assert (found.status, found.finding.endswith("is not writable")) == ("fail", True)
    assert {check.status for check in limits} == {"warn"}


@pytest.fixture
def engine_socket(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """An engine that answers each connection with the next of the given bytes."""
    answers: list[bytes] = []
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                peer, _ = listener.accept()
                with peer:
                    if not peer.recv(4096):
                        return
                    peer.sendall(answers.pop(0))

        thread = threading.Thread(target=serve)
        thread.start()
        yield path, answers
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))
        thread.join()


def answering(body: bytes) -> list[bytes]:
    """To the ping, then to the question who it is."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    return [head + b"OK", head + body]


@pytest.mark.parametrize(
    ("body", "status", "finding"),
    [
        (b"", "ok", "answers"),
        (b'{"Components": [{"Name": "Engine", "Version": "20.10"}]}', "ok", "answers, Engine 20.10"),
        (
            b'{"Components": [{"Name": "Podman Engine", "Version": "4.3"}]}',
            "warn",
            "answers, Podman Engine 4.3",
        ),
    ],
)
def test_an_engine_that_answers(
    no_leaks: None, engine_socket: tuple[Path, list[bytes]], body: bytes, status: str, finding: str
) -> None:
    path, answers = engine_socket
    answers += answering(body)
    check = machine.engine(f"unix://{path}")
    assert (check.status, check.finding) == (status, f"unix://{path} {finding}")


def test_engine(
    no_leaks: None, engine_socket: tuple[Path, list[bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, answers = engine_socket
    refused = b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n"
    answers += [refused, refused, b"SSH-2.0-x\r\n"]
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    assert machine.engine(None).finding.endswith("is something else")
    assert "does not answer as an engine does" in machine.engine(None).finding
    for absent in (
        f"unix://{tmp_path}/none",
        "tcp://127.0.0.1:1",
        "tcp://127.0.0.1:x",
        "tcp://x",
        "unix://" + "x" * 200,
    ):
        check = machine.engine(absent)
        assert check.status == "warn"
        assert "native apps need none" in check.advice
    assert machine.engine("ssh://somewhere").status == "warn"


def test_clocks(tmp_path: Path) -> None:
    source = tmp_path / "current"
    source.write_text("hpet\n")
    assert machine.clocks(source).status == "warn"
    source.write_text("tsc\n")
    assert machine.clocks(source).status == "ok"
    assert machine.clocks(tmp_path / "none").status == "ok"


def test_a_compiler_is_welcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.compiler().status == "warn"
    (tmp_path / "gcc").write_text("#!/bin/sh\n")
    (tmp_path / "gcc").chmod(0o755)
    assert machine.compiler() == Check("C compiler", "ok", str(tmp_path / "gcc"))


def test_doctor_as_lines_and_as_json(tmp_path: Path, no_leaks: None) -> None:
    arguments = [
        "--data-dir",
        str(tmp_path),
        "--port",
        "0",
        "--gateway-port",
        "0",
        "--task-ports",
        "20000-20010",
    ]
    lines = CliRunner().invoke(doctor, arguments).output.splitlines()
    done = CliRunner().invoke(doctor, [*arguments, "--json"])
    findings = json.loads(done.output)
    assert len(lines) == len(findings) == 16
    assert all(line.startswith(("ok  ", "warn", "FAIL")) for line in lines)
    for finding in findings:
        assert set(finding) == {"name", "status", "finding", "advice"}
        assert finding["advice"] or finding["status"] == "ok"
    assert done.exit_code == any(finding["status"] == "fail" for finding in findings)


def test_doctor_fails_for_what_nothing_can_run_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(doctor, ["--data-dir", str(tmp_path / "file")])
    assert done.exit_code == 1
    assert "FAIL  data directory" in done.output
    assert CliRunner().invoke(doctor, ["--task-ports", "x"]).exit_code == 2
    assert os.listdir(tmp_path) == ["file"]
