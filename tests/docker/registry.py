"""Debian's registry on a loopback port, anonymous or with a password."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import eventually

USER, PASSWORD, NEW_PASSWORD = "bob", "correct horse", "battery staple"
# htpasswd -Bbn bob 'correct horse'
_HASHED = {
    PASSWORD: "$2y$05$rxRT2EjQiamKuoXKVAwbdObTqkP7EYxVr054TOZuvU60XYmDJfHYm",
    NEW_PASSWORD: "$2y$05$Kx9f0dYb1LqWmR4tVhZc7uGnV3wZqHLmaNuA3knSnu.32IbJE9DeW",
}


def login(password: str) -> dict[str, dict[str, str]]:
    """What `publish` needs."""
    return {"auth_config": {"username": USER, "password": password}}


def set_password(htpasswd: Path, password: str) -> None:
    """The registry reads it anew when its time has changed."""
    before = htpasswd.stat().st_mtime if htpasswd.exists() else 0.0
    htpasswd.write_text(f"{USER}:{_HASHED[password]}\n")
    os.utime(htpasswd, times=(before + 2, before + 2))


@contextlib.contextmanager
def registry(htpasswd: Path | None = None) -> Iterator[str]:
    """Its host:port; with a file that `set_password` has written it wants that password."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("not installed: docker-registry")
    root = Path(tempfile.mkdtemp(prefix="registry-"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    auth = f"auth: {{htpasswd: {{realm: tests, path: {htpasswd}}}}}\n" if htpasswd else ""
    (root / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n{auth}"
    )
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", root / "config.yml"], stdout=log, stderr=log)
    try:
        eventually(lambda: not socket.create_connection(("127.0.0.1", port), 1).close())
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(root, ignore_errors=True)
