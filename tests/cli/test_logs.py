"""`platformd logs`: stored lines, following, and following over the death of the server."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path

import pytest

from platformd.cli import show
from platformd.client import LogEntry
from tests.cli.commands import TALKING, Commands, running
from tests.e2e.platform import Platform
from tests.support import eventually


@pytest.fixture
def talking(tmp_path: Path) -> Path:
    path = tmp_path / "talking"
    path.write_bytes(TALKING)
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def numbers(said: str) -> list[int]:
    return [int(found) for found in re.findall(r"line (\d+)$", said, re.MULTILINE)]


def worker(commands: Commands, name: str, binary: Path) -> str:
    """A deployment that needs no port and goes on talking."""
    platform = commands.platform
    app = platform.app(name)
    made = platform.deploy(binary, app["id"], networking={"protocol": "none"})
    assert made["status"] == "running", made
    return str(made["id"])


def test_stored_lines(shared: Commands, talking: Path) -> None:
    id = worker(shared, "stored", talking)
    eventually(lambda: len(shared.platform.api("GET", f"/deployments/{id}/logs").json) > 20)
    lines = shared("logs", "stored@1", "--tail", "5").stdout.splitlines()
    assert len(lines) == 5
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} \w{8} line \d+", line) for line in lines)
    assert numbers(shared("logs", "stored@1", "--since", "1h").stdout)[:3] == [1, 2, 3]
    assert shared("logs", "stored@1", "--since", "2999-01-01T00:00:00Z").stdout == ""
    assert shared("logs", "stored@1", "--tail", "0").stdout == ""
    entries = shared.json("logs", "stored@1", "--tail", "3")
    assert [sorted(entry) for entry in entries] == [
        ["deployment_id", "id", "message", "stream", "task_id", "timestamp"]
    ] * 3
    task = entries[0]["task_id"]
    assert len(shared("logs", id, "--task", task[:6], "--tail", "4").stdout.splitlines()) == 4
    assert "no tasks of this deployment" in shared("logs", id, "--task", "zzz", code=1).stderr
    shared("cancel", id)


def test_following_ends_with_the_deployment(shared: Commands, talking: Path, tmp_path: Path) -> None:
    id = worker(shared, "ending", talking)
    with running(tmp_path / "said", "logs", id, "-f", "--since", "1h", "--server", shared.server) as follow:
        follow.says("line 30")
        shared("cancel", id)
        assert follow.process.wait(30) == 0
    found = numbers(follow.said)
    assert found == list(range(1, len(found) + 1))
    stored = numbers(shared("logs", id, "--since", "1h").stdout)
    assert found == stored
    assert numbers(shared("logs", id, "-f", "--since", "1h").stdout) == stored


def test_following_starts_where_there_is_nothing_yet(shared: Commands, tiny: Path, tmp_path: Path) -> None:
    id = shared.json("deploy", "quiet", "--binary", tiny)["id"]
    host = shared.json("status", id)["preview_url"].split("//")[1].split(":")[0]
    with running(
        tmp_path / "said", "logs", id, "-f", "--tail", "0", "--json", "--server", shared.server
    ) as follow:
        sent = 0

        def heard() -> bool:
            nonlocal sent
            sent += 1
            shared.platform.get(host, f"/say?word{sent}")
            return "word" in follow.said

        eventually(heard, 20)
        assert follow.interrupt() == 0
    entry = json.loads(follow.said.splitlines()[0])
    assert entry["message"].startswith("word")
    shared("cancel", id)


def test_following_goes_on_over_restarts_of_the_server(data_dir: Path, talking: Path, tmp_path: Path) -> None:
    """Killed, and ended in good order: no line of the time without a server is missing, none comes twice."""
    platform = Platform(data_dir, "--port", str(free_port()))
    try:
        platform.start()
        follow_over_restarts(platform, talking, tmp_path)
    finally:
        platform.destroy()


def follow_over_restarts(platform: Platform, talking: Path, tmp_path: Path) -> None:
    commands = Commands(platform)
    id = worker(commands, "steady", talking)
    with running(
        tmp_path / "said", "logs", id, "-f", "--since", "1h", "--server", platform.api_url
    ) as follow:
        follow.says("line 20\n")
        platform.kill()
        before = numbers(follow.said)[-1]
        platform.start()
        follow.says(f"line {before + 100}\n", 40)
        assert platform.terminate() == 0
        before = numbers(follow.said)[-1]
        platform.start()
        follow.says(f"line {before + 100}\n", 40)
        assert follow.process.poll() is None
        assert follow.interrupt(signal.SIGINT) == 0
    found = numbers(follow.said)
    assert found == list(range(1, len(found) + 1))


def test_a_terminal_gets_no_control_characters_of_the_app() -> None:
    entry: LogEntry = {
        "id": 1,
        "timestamp": "2026-01-31T12:00:01.123Z",
        "deployment_id": "d",
        "task_id": "0123456789",
        "stream": "stderr",
        "message": "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J a\tb\rc\x9b",
    }
    plain = show.log_line(entry, terminal=False)
    assert plain == f"12:00:01.123 01234567 {entry['message']}"
    shown = show.log_line(entry, terminal=True)
    assert "\x1b[31mred\x1b[0m" in shown
    assert "a\tb" in shown
    assert shown.endswith("\x1b[0m")
    assert not {"\x07", "\r", "\x9b"} & set(shown)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown).count("\x1b") == 0
    system = show.log_line({**entry, "stream": "system", "message": "m", "truncated": 7}, terminal=False)
    assert system == "12:00:01.123 system   m [7 bytes dropped]"
