"""What the manual names exists: codes of errors and reasons, files of the data directory, pages that link to others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from platformd import datadir
from tests.architecture.house import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "platformd" / "docs").glob("*.md")])
CODE = re.compile(r"`((?!PLATFORMD_)[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`")
# Names in capitals that are no codes: variables of an environment. Those of the settings have a test of their own.
VARIABLES = {"TASK_ID", "DEPLOYMENT_ID", "XDG_STATE_HOME", "DOCKER_HOST"}


def source() -> str:
    rooms = [path for room in ("platformd", "actors", "handlers") for path in (ROOT / room).rglob("*.py")]
    return "\n".join(path.read_text() for path in rooms)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_codes_are_the_programs_own(page: Path) -> None:
    text = source()
    named = set(CODE.findall(page.read_text())) - VARIABLES
    unknown = {code for code in named if f'"{code}"' not in text}
    assert not unknown, f"{page.name} names {unknown}, and nothing answers with them"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_operations_names_every_folder_of_the_data_directory() -> None:
    page = (ROOT / "platformd" / "docs" / "operations.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)/` \|.*\| (0\d{3})", page, re.MULTILINE))
    assert rows == {name: f"{mode:04o}" for name, mode in datadir.FOLDERS.items() if name}
