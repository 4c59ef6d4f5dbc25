"""A real sshd on loopback, with host keys of its own: repositories behind it are read by `git-upload-pack`."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import eventually

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {root}/{host_key}
AuthorizedKeysFile {root}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
PidFile none
"""


class SshHost:
    """Lets in whoever shows `key`; everything that is its own lies in `root`, repositories in `root`/git."""

    def __init__(self, root: Path) -> None:
        found = shutil.which("sshd", path=_PATH)
        if found is None:
            pytest.skip("not installed: sshd")
        self.sshd, self.root = found, root
        self.repositories = root / "git"
        self.repositories.mkdir()
        self.key, self.other_key = self.make_key("key"), self.make_key("other")
        self.make_key("host"), self.make_key("other_host")
        (root / "authorized_keys").write_text((root / "key.pub").read_text())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{self.repositories}"

    def make_key(self, name: str) -> str:
        """The private one, as ssh-keygen writes it."""
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.root / name]
        subprocess.run(command, check=True, capture_output=True)
        return (self.root / name).read_text()

    @contextlib.contextmanager
    def serving(self, host_key: str = "host") -> Iterator[SshHost]:
        """As the server with that key, `host` or `other_host`."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config, log = self.root / "sshd_config", self.root / "log"
        config.write_text(_CONFIG.format(port=self.port, root=self.root, host_key=host_key))
        with log.open("ab") as said:
            process = subprocess.Popen([self.sshd, "-D", "-e", "-f", config], stdout=said, stderr=said)
        try:
            eventually(self._answers)
            yield self
        finally:
            process.terminate()
            process.wait(10)

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as peer:
            return peer.recv(4) == b"SSH-"
