"""The wheel, installed into a clean environment outside the checkout, serves: API, page, manual, an app that wakes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from platformd import __version__
from tests.architecture.test_packaging import build_wheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.needs("a package index")]

APP = """#!/usr/bin/env python3
import http.server, os
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])),
                                http.server.SimpleHTTPRequestHandler).serve_forever()
"""
NO_INDEX = ("No matching distribution", "Could not find a version", "Connection", "Temporary failure")


def without_this_checkout() -> dict[str, str]:
    """An environment that knows nothing of the sources, nor of a server that somebody else runs."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in ours and "PLATFORMD" not in name}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of programs of an environment in which nothing but the wheel was installed."""
    root = Path(tempfile.mkdtemp(prefix="platformd-installed-"))
    root.chmod(0o755)
    venv.create(root / "venv", with_pip=False)
    programs = root / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "-q"]
    made = subprocess.run(
        [*pip, str(build_wheel(tmp_path_factory))],
        cwd="/",
        env=without_this_checkout(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    if made.returncode != 0 and any(sign in made.stderr for sign in NO_INDEX):
        pytest.skip(f"no package index can be reached: {made.stderr[-200:]}")
    assert made.returncode == 0, made.stderr
    yield programs
    shutil.rmtree(root, ignore_errors=True)


def test_the_program_says_its_version(installed: Path) -> None:
    said = subprocess.run(
        [installed / "platformd", "--version"],
        cwd="/",
        env=without_this_checkout(),
        capture_output=True,
        text=True,
    )
    assert said.stdout == f"platformd, version {__version__}\n", said.stderr


def test_it_serves_page_and_manual_and_runs_an_app(installed: Path) -> None:
    folder = installed.parent.parent
    (folder / "hello").write_text(APP)
    environment = without_this_checkout() | {"PLATFORMD_DOCKER_HOST": f"unix://{folder}/no-engine"}
    command = [
        installed / "platformd",
        "serve",
        "--data-dir",
        folder / "data",
        "--port",
        "0",
        "--gateway-port",
        "0",
    ]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--stop-tasks-on-exit"],
            cwd="/",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert server.stdout is not None
        words = dict(word.split("=", 1) for word in server.stdout.readline().split() if "=" in word)
        for path, sign in (
            ("/", "/dashboard/main.js"),
            ("/dashboard/main.js", "hashchange"),
            ("/docs", "Concepts"),
            ("/docs/concepts", "<svg"),
            ("/docs/api", "/api/v1/deployments/{deployment_id}"),
        ):
            with urllib.request.urlopen(words["api"] + path, timeout=10) as answer:
                assert sign in answer.read().decode(), path
        deploy = [installed / "platformd", "deploy", "hello", "--binary", folder / "hello"]
        done = subprocess.run(
            deploy,
            cwd="/",
            env=environment | {"PLATFORMD_SERVER": words["api"]},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        host = urlsplit(done.stdout.split()[-1]).netloc
        request = urllib.request.Request(words["gateway"], headers={"Host": host})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
        assert server.returncode == 0, (folder / "log").read_text()[-2000:]
