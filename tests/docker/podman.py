"""Podman's Docker-compatible service for the tests, on a socket and folders of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import docker

from tests.docker.engine import CannotRun, DockerEngine, archive
from tests.support import eventually

# Its usual limits are beyond those of a test machine that is a container itself.
_CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""


class PodmanEngine(DockerEngine):
    """What the tests want of an engine, of `podman system service`; rootful, cgroups by itself."""

    def __init__(self) -> None:
        if shutil.which("podman") is None:
            raise CannotRun("not installed: podman")
        if os.geteuid() != 0:
            raise CannotRun("an engine needs root")
        self.root = Path(tempfile.mkdtemp(prefix="ppm-", dir="/tmp"))
        self.socket, self.log = self.root / "podman.sock", self.root / "log"
        self.flags = ()
        self.process: subprocess.Popen[bytes] | None = None
        (self.root / "containers.conf").write_text(_CONF)
        self._env = {**os.environ, "CONTAINERS_CONF": str(self.root / "containers.conf")}

    @property
    def _podman(self) -> list[str]:
        folders = ["--root", str(self.root / "data"), "--runroot", str(self.root / "run")]
        return ["podman", *folders, "--cgroup-manager", "cgroupfs", "--events-backend", "file"]

    def start(self, timeout: float = 60.0) -> PodmanEngine:
        command = [*self._podman, "system", "service", "--time", "0", self.address]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self._env)
        try:
            eventually(self._answers, timeout, every=0.05)
        except AssertionError:
            raise CannotRun(f"it does not come up: {self._last_words()}") from None
        return self

    def client(self) -> docker.APIClient:
        return docker.APIClient(self.address, version="1.40", timeout=30)

    def make_image(self, name: str, files: dict[str, Path | bytes], *changes: str) -> str:
        """Under the name that a plain one means to its service."""
        words = [word for change in changes for word in ("--change", change)]
        done = self._run("import", *words, "-", f"docker.io/{name}", given=archive(files))
        if done.returncode:
            raise CannotRun(f"no image can be made: {done.stderr.decode().strip()}")
        return done.stdout.decode().strip()

    def _run(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self._podman, *words], input=given, capture_output=True, check=False, env=self._env, timeout=60
        )

    def close(self) -> None:
        """Nothing stays: containers, service, folders."""
        try:
            self._run("rm", "--all", "--force")
            self.stop()
        finally:
            self._run("system", "reset", "--force")
            shutil.rmtree(self.root, ignore_errors=True)
