"""A Docker engine for the tests: on a socket, a bridge and folders of its own, ended with everything it started."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path

import docker

from tests.support import eventually

PROGRAMS = ("dockerd", "containerd", "runc", "ip")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class CannotRun(Exception):
    """Why no engine can run here."""


class DockerEngine:
    """`start` and `stop` may be repeated: images and containers stay until `close`."""

    def __init__(self, *flags: str) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
        if missing:
            raise CannotRun(f"not installed: {', '.join(missing)}")
        if os.geteuid() != 0:
            raise CannotRun("an engine needs root")
        self.flags = flags
        self.root = Path(tempfile.mkdtemp(prefix="pdk-", dir="/tmp"))  # short: sockets lie far below it
        self.socket = self.root / "docker.sock"
        self.log = self.root / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.bridge = f"pdk{random.randrange(1 << 32):08x}"
        self._ip("link", "add", "name", self.bridge, "type", "bridge")
        subnet = f"10.{random.randrange(200, 250)}.{random.randrange(256)}"
        self._ip("address", "add", f"{subnet}.1/24", "dev", self.bridge)
        self._ip("link", "set", self.bridge, "up")

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    def start(self, timeout: float = 60.0) -> DockerEngine:
        folders = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "pid"}
        command = [
            "dockerd",
            "-H",
            self.address,
            "--bridge",
            self.bridge,
            "--iptables=false",
            "--ip6tables=false",
        ]
        command += [word for flag, name in folders.items() for word in (flag, str(self.root / name))]
        (self.root / "pid").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.flags], stdout=log, stderr=log, env={**os.environ, "PATH": _PATH}
            )
        try:
            eventually(self._answers, timeout, every=0.05)
        except AssertionError:
            raise CannotRun(f"it does not come up: {self._last_words()}") from None
        return self

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise CannotRun(f"it ended with {self.process.returncode}: {self._last_words()}")
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(self.socket))
        with self.client() as client:
            return bool(client.ping())

    def _last_words(self) -> str:
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-3:])

    def client(self) -> docker.APIClient:
        return docker.APIClient(self.address, version="1.41", timeout=30)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the daemon; what becomes of its containers is its own business."""
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.wait(timeout=60)
        self.process = None

    def close(self) -> None:
        """Nothing stays: containers, daemon, containerd, bridge, folders."""
        if self.process is None:
            self.start()
        self.remove_containers()
        self.stop()
        self._end_containerd()
        subprocess.run(["ip", "link", "delete", self.bridge], env={"PATH": _PATH}, check=False)
        for mount in sorted(_mounts_below(self.root), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def remove_containers(self) -> None:
        with self.client() as client:
            for one in client.containers(all=True):
                client.remove_container(one["Id"], v=True, force=True)

    def _end_containerd(self) -> None:
        """One that outlived a killed daemon."""
        try:
            pid = int((self.root / "exec" / "containerd" / "containerd.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return
        if str(self.root).encode() in command:
            os.kill(pid, signal.SIGKILL)

    def _ip(self, *words: str) -> None:
        done = subprocess.run(["ip", *words], env={"PATH": _PATH}, capture_output=True, text=True)
        if done.returncode:
            raise CannotRun(f"ip {' '.join(words)}: {done.stderr.strip()}")

    # ---- images --------------------------------------------------------------------------------------------

    def make_image(self, name: str, files: dict[str, Path | bytes], *changes: str) -> str:
        """An image of a few files, without any base; its id."""
        repository, _, tag = name.rpartition(":")
        with self.client() as client:
            client.import_image_from_data(archive(files), repository, tag, changes=list(changes))
            return str(client.inspect_image(name)["Id"])


def archive(files: dict[str, Path | bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(tmp)
        for name, content in files.items():
            raw = content if isinstance(content, bytes) else content.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(raw), 0o755
            archive.addfile(entry, io.BytesIO(raw))
    return stream.getvalue()


def _mounts_below(root: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [place for line in lines if (place := line.split()[1]).startswith(f"{root}/")]
