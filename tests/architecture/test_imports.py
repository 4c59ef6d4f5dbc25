"""Who may import whom: the contracts of setup.cfg hold, cover every module, and do catch what they forbid."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.contracts import within
from tests.architecture.house import PACKAGES, ROOT, modules

TYPES_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
LINTER = Path(sys.executable).parent / "lint-imports"


def lint(folder: Path, config: Path) -> subprocess.CompletedProcess[str]:
    command = [str(LINTER), "--config", str(config), "--no-cache", "--no-logo"]
    environment = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}", "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def contracts() -> dict[str, dict[str, list[str]]]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return {
        section.rpartition(":")[2]: {key: value.split("\n") for key, value in parser[section].items()}
        for section in parser.sections()
        if ":contract:" in section
    }


def rooms() -> list[str]:
    return [
        name.strip()
        for options in contracts().values()
        for name in options.get("modules", [])
        if name.strip()
    ]


def test_all_contracts_hold() -> None:
    result = lint(ROOT, ROOT / "setup.cfg")
    assert result.returncode == 0, result.stdout
    assert f"Contracts: {len(contracts())} kept, 0 broken." in result.stdout


def test_every_module_is_in_one_room() -> None:
    """So that a new one cannot be forgotten: give it to a room of setup.cfg."""
    listed = rooms()
    assert len(listed) == len(set(listed))
    for path in modules(*PACKAGES):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name != "platformd":
            assert sum(within(name, [room]) for room in listed) == 1, name


FORBIDDEN = [
    (
        "platformd/domain/spec.py",
        "from platformd import clock",
        "platformd.domain.spec:1 imports platformd.clock",
    ),
    ("platformd/domain/spec.py", "import msgspec", "platformd.domain.spec:1 imports msgspec"),
    ("platformd/keeper/__main__.py", "import structlog", "imports structlog"),
    ("platformd/keeper/__main__.py", "import platformd.errors", "imports platformd.errors"),
    ("platformd/gateway/proxy.py", "from platformd.store import models", "imports platformd.store"),
    ("platformd/drivers/native.py", "import actors.bridge", "imports actors.bridge"),
    ("platformd/errors.py", "from platformd.domain import spec", "imports platformd.domain"),
    ("handlers/apps.py", "from platformd.drivers import base", "imports platformd.drivers"),
    (
        "handlers/apps.py",
        "def f():\n    import actors.supervisor",
        "handlers.apps:2 imports actors.supervisor",
    ),
    ("handlers/apps.py", f"{TYPES_ONLY}    from platformd.drivers import base", "handlers.apps:3 imports"),
    ("handlers/apps.py", "import peewee", "imports peewee"),
    ("actors/task.py", "from platformd import app", "imports platformd.app"),
    ("actors/task.py", "import tornado.web", "imports tornado"),
    ("platformd/cli/ps.py", "import handlers.apps", "imports handlers.apps"),
    ("platformd/client.py", "import click", "imports click"),
    ("actors/bridge.py", "import actors.supervisor", "No cycles are allowed in actors"),
]
FINE = [
    ("platformd/client.py", "import json, platformd.errors"),
    ("platformd/app.py", "import tornado.web, uvloop, handlers.apps, actors.bridge, platformd.drivers.base"),
    ("platformd/drivers/docker.py", "import docker, platformd.keeper.wire, platformd.domain.spec"),
    ("actors/bridge.py", f"{TYPES_ONLY}    import actors.supervisor"),
]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """One with a few modules, all in order."""
    for name in (
        "platformd/app.py", "platformd/clock.py", "platformd/errors.py", "platformd/ids.py", "platformd/cli/ps.py",
        "platformd/domain/spec.py", "platformd/store/models.py", "platformd/drivers/base.py",
        "platformd/gateway/proxy.py", "platformd/keeper/wire.py", "actors/bridge.py", "actors/supervisor.py",
        "handlers/apps.py",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        (path.parent / "__init__.py").touch()
    (tmp_path / "actors" / "supervisor.py").write_text("import actors.bridge\n")
    return tmp_path


@pytest.mark.parametrize(("module", "line", "caught"), FORBIDDEN)
def test_what_is_forbidden_is_caught(house: Path, module: str, line: str, caught: str) -> None:
    (house / module).write_text(line + "\n")
    result = lint(house, ROOT / "setup.cfg")
    assert result.returncode == 1, result.stdout
    assert caught in result.stdout
    assert ", 1 broken." in result.stdout


@pytest.mark.parametrize(("module", "line"), FINE)
def test_what_is_fine_is_let_be(house: Path, module: str, line: str) -> None:
    (house / module).write_text(line + "\n")
    result = lint(house, ROOT / "setup.cfg")
    assert result.returncode == 0, result.stdout


def test_only_end_to_end_tests_import_the_app() -> None:
    for path in modules("tests"):
        if path.parent != ROOT / "tests" / "e2e":
            text = path.read_text()
            imports = ("from platformd.app import", "import platformd.app")
            assert not [line for line in text.splitlines() if line.strip().startswith(imports)], path
