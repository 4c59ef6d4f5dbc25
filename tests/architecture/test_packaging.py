"""What a plain `pip install .` carries, and that the installed program runs from anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from platformd import __version__
from tests.architecture.house import PACKAGES, ROOT

LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "tests", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory)


def build_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as building leaves folders beside the sources."""
    copy, out = tmp_path_factory.mktemp("copy") / "src", tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    shutil.rmtree(copy / "build", ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        out,
        ".",
    ]
    subprocess.run(command, cwd=copy, check=True)
    [built] = out.glob("*.whl")
    return built


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not {"__pycache__", ".mypy_cache"} & set(path.parts)
    }
    with zipfile.ZipFile(wheel) as archive:
        carried = set(archive.namelist())
    assert "platformd/keeper/wire.py" in wanted
    assert "platformd/docs/settings.md" in wanted
    assert wanted - carried == set(), "name them in [tool.setuptools.package-data]"
    assert {name.split("/")[0] for name in carried if ".dist-info" not in name} == set(PACKAGES)


def test_the_installed_program_runs_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    environment = os.environ | {"PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"}
    where = [sys.executable, "-c", "import platformd, actors, handlers; print(platformd.__file__)"]
    found = subprocess.run(where, cwd="/", env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(target))
    program = [sys.executable, "-m", "platformd", "--version"]
    shown = subprocess.run(program, cwd="/", env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == f"platformd, version {__version__}\n"
    with zipfile.ZipFile(wheel) as archive:
        [entry] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "platformd = platformd.__main__:main" in archive.read(entry).decode()


def test_the_version_is_said_once_and_repeated_rightly() -> None:
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
