"""`platformd demo`: what it shows, that what it suggests works, and that nothing is left however it ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from platformd.cli import scripts
from platformd.cli.demo import SOURCE
from platformd.cli.local import temporary_folder
from tests.cli.commands import program, running
from tests.support import eventually

FREE_PORTS = ("--port", "0", "--gateway-port", "0")


def folder_of(said: str) -> Path:
    found = re.search(r"Everything is in (\S+) and goes", said)
    assert found, said
    return Path(found[1])


def nothing_left(folder: Path) -> bool:
    for process in psutil.process_iter():
        try:
            if any(str(folder) in word for word in [*process.cmdline(), process.cwd()]):
                return False
        except psutil.Error:
            continue
    return not folder.exists()


def in_order(said: str, *words: str) -> None:
    places = [said.find(word) for word in words]
    assert -1 not in places, (words[places.index(-1)], said)
    assert places == sorted(places), said


def test_the_whole_show(tmp_path: Path) -> None:
    with running(tmp_path / "said", "demo", "--idle", "1", *FREE_PORTS) as demo:
        said = demo.says("Ctrl-C ends it all")
        in_order(said, "deployed", "ready", "request", "asleep", "woken", "hello from process", "Try next")
        assert "\x1b" not in said
        assert re.search(r"answered in \d+(\.\d)? ms", said)
        curl = re.search(r"curl (http://hello-default.localhost:\d+/) ", said)
        program_line = re.search(r"PLATFORMD_SERVER=(\S+) .* ps ", said)
        assert curl, said
        assert program_line, said
        demo.says("asleep", 20)
        visit(curl[1])
        eventually(lambda: demo.said.split("ends it all.")[1].count("ready") >= 1, 20)
        assert "hello@1" in program("ps", PLATFORMD_SERVER=program_line[1]).stdout
        logs = program("logs", "hello@1", PLATFORMD_SERVER=program_line[1]).stdout
        in_order(logs, "up and listening", "request 1: GET /", "asked to end, good night")
        folder = folder_of(said)
        assert demo.interrupt() == 0
        assert demo.said.rstrip().endswith("All of it is gone again.")
    assert nothing_left(folder)


def visit(url: str) -> None:
    where = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=30)
    connection.request("GET", "/", headers={"Host": where.netloc})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_any_way_to_end_it_leaves_nothing(number: int, tmp_path: Path) -> None:
    with running(tmp_path / "said", "demo", *FREE_PORTS) as demo:
        said = demo.says("request")
        assert demo.interrupt(number) == 0
    assert nothing_left(folder_of(said))


def test_ended_before_it_began(tmp_path: Path) -> None:
    """The server is still starting; a second signal does not cut the clearing up short."""
    before = set(Path("/tmp").glob("platformd-demo-*"))
    with running(tmp_path / "said", "demo", *FREE_PORTS) as demo:
        [folder] = eventually(lambda: set(Path("/tmp").glob("platformd-demo-*")) - before, 20)
        eventually(lambda: (folder / "serve.log").exists(), 20)
        demo.process.send_signal(signal.SIGINT)
        demo.process.send_signal(signal.SIGTERM)
        assert demo.process.wait(60) == 0
    assert nothing_left(folder)


@pytest.mark.slow
def test_a_server_that_dies_ends_the_demo_with_its_log(tmp_path: Path) -> None:
    with running(tmp_path / "said", "demo", *FREE_PORTS, "--idle", "600") as demo:
        folder = folder_of(demo.says("ready"))
        [server] = serving(folder)
        server.kill()
        assert demo.process.wait(100) == 1
        assert "Error: " in demo.said
        assert "Traceback" not in demo.said
    assert nothing_left(folder)


def serving(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "serve" in words and any(str(folder) in word for word in words):
            found.append(process)
    return found


def test_busy_ports_are_no_hindrance(tmp_path: Path) -> None:
    """Two at once: the second takes others than the usual ones."""
    with running(tmp_path / "one", "demo") as one:
        one.says("deployed")
        with running(tmp_path / "two", "demo") as two:
            two.says("deployed")
            ports = [re.findall(r"api http://\S+:(\d+) ", each.said) for each in (one, two)]
            assert ports[0] != ports[1]
            ends = [each.interrupt() for each in (one, two)]
    assert ends == [0, 0]
    assert all(nothing_left(folder_of(each.said)) for each in (one, two))


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with running(tmp_path / "one", "demo", *FREE_PORTS) as one:
        port = re.search(r"api http://\S+:(\d+) ", one.says("api http"))
        assert port
        done = program("demo", "--port", port[1], "--gateway-port", "0")
    assert done.returncode == 1
    assert "Error: " in done.stderr
    assert "Traceback (most" not in done.stdout


class TestScripts:
    """A Python script that the task's account can start."""

    def test_it_starts_for_that_account(self) -> None:
        with temporary_folder("test") as folder:
            script = scripts.executable(SOURCE, folder / "app", options="-IS")
            assert script is not None
            root = os.geteuid() == 0
            account = {"user": scripts.TASK_ACCOUNT} if root and not script.flags else {}
            subprocess.run([script.path, "--try"], check=True, cwd="/", **account)  # type: ignore[call-overload]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root runs tasks as another account")
    def test_where_only_we_can_go_it_runs_as_us(self) -> None:
        with temporary_folder("test") as folder:
            folder.chmod(0o700)
            script = scripts.executable(SOURCE, folder / "app")
            assert script is not None
            assert script.flags == ("--run-as", f"0:{os.getegid()}")

    def test_where_nothing_starts_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scripts, "_interpreters", lambda: iter(("/nowhere/python3",)))
        with temporary_folder("test") as folder:
            assert scripts.executable(SOURCE, folder / "app") is None

    def test_interpreters_that_a_script_cannot_name_are_passed_over(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "with space" / "python3"))
        assert not [path for path in scripts._interpreters() if " " in path]


def test_the_temporary_folder_can_be_entered_by_anyone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder("test") as folder:
        for place in (folder, *folder.parents):
            assert place.stat().st_mode & 0o001, place
        (folder / "file").touch()
    assert not folder.exists()
