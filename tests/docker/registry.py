"""Debian's registry on a loopback port, anonymous or with a password."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import eventually

USER, PASSWORD = "bob", "correct horse"
# htpasswd -Bbn bob 'correct horse'
_HTPASSWD = "bob:$2y$05$rxRT2EjQiamKuoXKVAwbdObTqkP7EYxVr054TOZuvU60XYmDJfHYm"


@contextlib.contextmanager
def registry(locked: bool = False) -> Iterator[str]:
    """Its host:port."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("not installed: docker-registry")
    root = Path(tempfile.mkdtemp(prefix="registry-"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (root / "htpasswd").write_text(_HTPASSWD + "\n")
    auth = f"auth: {{htpasswd: {{realm: tests, path: {root}/htpasswd}}}}\n" if locked else ""
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
