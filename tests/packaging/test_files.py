"""The unit and the Dockerfile say what the program understands."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from platformd.__main__ import main
from tests.architecture.house import ROOT

FOLDER = ROOT / "platformd" / "packaging"
INSTRUCTIONS = {"FROM", "COPY", "RUN", "ENV", "VOLUME", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(FOLDER / "platformd.service")
    return parsed


def understood(words: list[str]) -> None:
    """Fails unless the command line takes these words."""
    command = main.commands[words[0]]
    with command.make_context(words[0], words[1:]):
        pass


def test_the_unit_starts_what_there_is_and_keeps_tasks() -> None:
    service = unit()["Service"]
    program, *words = service["ExecStart"].split()
    assert program.endswith("/bin/platformd")
    understood(words)
    assert (service["KillMode"], service["Delegate"]) == ("process", "yes")


@pytest.mark.needs("systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    there = (FOLDER / "platformd.service").read_text().replace("/opt/platformd/bin/platformd", sys.executable)
    copy = tmp_path / "platformd.service"
    copy.write_text(there)
    verified = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60)
    about_ours = [line for line in verified.stderr.splitlines() if "platformd.service" in line]
    assert about_ours == []


def test_the_dockerfile_copies_installs_and_serves() -> None:
    lines = [
        line
        for line in (FOLDER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
        if line and not line.startswith("#")
    ]
    assert [line.split()[0] for line in lines if line.split()[0] not in INSTRUCTIONS] == []
    said = dict(line.split(None, 1) for line in lines)
    assert json.loads(said["ENTRYPOINT"]) == ["platformd"]
    words = json.loads(said["CMD"])
    understood(words)
    assert said["VOLUME"] == words[words.index("--data-dir") + 1]
    [where] = re.findall(r"ENV PATH=(\S+):\$PATH", "\n".join(lines))
    assert f"{where}/pip install" in said["RUN"]


def test_the_program_keeps_within_what_the_unit_allows() -> None:
    """Only the state directory is written to, so the unit may leave everything else read-only."""
    service = unit()["Service"]
    assert service["ProtectSystem"] == "strict"
    assert f"/var/lib/{service['StateDirectory']}" in service["ExecStart"]
