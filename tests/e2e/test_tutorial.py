"""The tutorial, followed literally: each block is run in one shell, and prints what the page says it prints."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.architecture.house import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs("curl", "jq", "python3 for tasks")]

PAGE = (ROOT / "platformd" / "docs" / "tutorial.md").read_text()
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
AFTER = "======== after this block"


def steps() -> list[tuple[str, str]]:
    """(commands, what they print) in the order of the page."""
    blocks = BLOCK.findall(PAGE)
    assert [kind for kind, _ in blocks] == ["sh", "text"] * (len(blocks) // 2), (
        "each block has its output below"
    )
    return [(blocks[place][1], blocks[place + 1][1]) for place in range(0, len(blocks), 2)]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def pattern(expected: str) -> str:
    """What the page shows, with anything at all in place of each ellipsis."""
    return ".*".join(map(re.escape, expected.strip().split("…")))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the reader sits; nothing that was started from here outlives it."""
    place = Path(tempfile.mkdtemp(prefix="platformd-tutorial-"))
    place.chmod(0o755)
    yield place
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(place) in " ".join([*process.cmdline(), process.cwd()]):
                process.kill()
    shutil.rmtree(place, ignore_errors=True)


def test_the_tutorial_is_true(folder: Path) -> None:
    ports = {"47080": str(free_port()), "47000": str(free_port())}

    def ours(text: str) -> str:
        """The page as it would read had these ports been the defaults."""
        return re.sub("47080|47000", lambda found: ports[found[0]], text)

    script = "set -euo pipefail\n" + "".join(f"{ours(commands)}echo '{AFTER}'\n" for commands, _ in steps())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORMD_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PLATFORMD_PORT": ports["47080"],
        "PLATFORMD_GATEWAY_PORT": ports["47000"],
        "PLATFORMD_SERVER": f"http://127.0.0.1:{ports['47080']}",
    }
    with (folder / "said").open("w") as said:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        shell.wait(timeout=100)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait(timeout=10)
    everything = (folder / "said").read_text()
    printed = everything.split(f"{AFTER}\n")
    for (commands, expected), got in zip(steps(), printed, strict=False):
        wanted = pattern(ours(expected))
        assert re.fullmatch(wanted, got.strip(), re.DOTALL), f"{commands}\nprints\n{got}\nand not\n{expected}"
    assert shell.returncode == 0, everything
    assert len(printed) == len(steps()) + 1, everything
