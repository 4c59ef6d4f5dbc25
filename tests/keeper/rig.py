"""A real keeper in a temporary data directory, and a client that speaks to it as serve does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from platformd.keeper import linux, wire
from platformd.links import start
from platformd.logstore import Entry, LogStore
from tests.support import eventually

Message = dict[str, Any]
NOBODY = 65534


class Client:
    """One connection; what was not waited for is kept in `seen`."""

    def __init__(self, run_dir: Path, hello: bool = True) -> None:
        self.sock = wire.connect(run_dir)
        self.sock.settimeout(10)
        self.seen: list[Message] = []
        self.welcome: Message = {}
        self.tasks: dict[str, Message] = {}
        if hello:
            self.send({"op": "hello", "v": wire.VERSION, "pid": os.getpid()})
            self.welcome = self.wait("welcome")
            self.wait("synced")
            self.tasks = {m["task"]: m for m in self.seen if m["op"] == "task"}

    def send(self, message: Message, fds: Iterable[int] = ()) -> None:
        wire.send(self.sock, message, list(fds))

    def wait(self, *ops: str, timeout: float = 20.0, **fields: Any) -> Message:
        """The first message with one of these ops and these fields, among the seen ones or yet to come."""
        message, fds = self.wait_with_fds(*ops, timeout=timeout, **fields)
        for fd in fds:
            os.close(fd)
        return message

    def wait_with_fds(self, *ops: str, timeout: float = 20.0, **fields: Any) -> tuple[Message, list[int]]:
        def fits(message: Message) -> bool:
            return message["op"] in ops and all(message.get(key) == value for key, value in fields.items())

        for message in self.seen:
            if fits(message):
                self.seen.remove(message)
                return message, []
        deadline = time.monotonic() + timeout
        while True:
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                got = wire.receive(self.sock)
            except TimeoutError:
                raise AssertionError(
                    f"no {ops} {fields} within {timeout} s; seen: {self.seen[-5:]}"
                ) from None
            assert got is not None, f"the keeper closed the connection while {ops} was awaited"
            if fits(got[0]):
                return got
            self.seen.append(got[0])

    def ping(self) -> float:
        """Seconds until the answer."""
        begin = time.monotonic()
        self.send({"op": "ping"})
        self.wait("pong")
        return time.monotonic() - begin

    def close(self) -> None:
        self.sock.close()


class Rig:
    """A data directory with its keeper; `close` ends everything that was started through it."""

    def __init__(self, data_dir: Path, grace: float = 20.0) -> None:
        self.data_dir, self.grace = data_dir, grace
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o711)
        self.logs = LogStore(data_dir / "logs")
        self.clients: list[Client] = []
        self.sockets: list[socket.socket] = []
        self.pids: list[int] = []
        start.start(data_dir, grace)
        self.pids.append(self.keeper_pid)
        self.client = self.connect()

    @classmethod
    def of_running(cls, data_dir: Path) -> Rig:
        """To look at and to end what somebody else started."""
        rig = cls.__new__(cls)
        rig.data_dir, rig.logs = data_dir, LogStore(data_dir / "logs")
        rig.clients, rig.sockets, rig.pids = [], [], []
        return rig

    @property
    def keeper_pid(self) -> int:
        return int((self.data_dir / "run" / "keeper.pid").read_text())

    def connect(self, hello: bool = True) -> Client:
        client = Client(self.data_dir / "run", hello)
        self.clients.append(client)
        return client

    def launch(self, task: str, script: str | list[str], **fields: Any) -> Message:
        """Launch a shell script (or an argv) and wait for the answer."""
        self.client.send(self.order(task, script, **fields))
        answer = self.client.wait("launched", "launch_failed", task=task)
        if answer["op"] == "launched":
            self.pids.append(answer["pid"])
        return answer

    def order(self, task: str, script: str | list[str], **fields: Any) -> Message:
        argv = ["/bin/sh", "-c", script] if isinstance(script, str) else script
        deployment = fields.pop("deployment", "d1")
        env = {"PATH": os.defpath, "TASK_ID": task, "DEPLOYMENT_ID": deployment, **fields.pop("env", {})}
        ids = {"task": task, "deployment": deployment, "slot": 0, "generation": 1}
        return {"op": "launch", **ids, "argv": argv, "env": env, **fields}

    def exited(self, task: str, timeout: float = 20.0) -> Message:
        return self.client.wait("exited", task=task, timeout=timeout)

    def run(self, task: str, script: str | list[str], **fields: Any) -> Message:
        """Launch and wait for the end."""
        answer = self.launch(task, script, **fields)
        assert answer["op"] == "launched", answer
        return self.exited(task)

    def read(self, deployment: str = "d1", **filters: Any) -> list[Entry]:
        return self.logs.read(deployment, **filters)

    def lines(self, deployment: str = "d1", **filters: Any) -> list[str]:
        return [entry.message for entry in self.read(deployment, **filters)]

    def all_lines(self, deployment: str = "d1", **filters: Any) -> list[Entry]:
        """Everything stored, read page by page as a follower does."""
        found: list[Entry] = []
        after = 0
        while page := self.read(deployment, after=after, **filters):
            found += page
            after = page[-1].id
        return found

    def kill_keeper(self) -> None:
        pid = self.keeper_pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: linux.start_time(pid) is None)

    def restart(self) -> Client:
        """A keeper after the killed one."""
        start.start(self.data_dir, self.grace)
        self.pids.append(self.keeper_pid)
        self.client = self.connect()
        return self.client

    def keeper_log(self) -> str:
        return (self.data_dir / "run" / "keeper.log").read_text()

    def close(self) -> None:
        for sock in [*self.sockets, *(client.sock for client in self.clients)]:
            sock.close()
        for pid in {*self.pids, *_descendants(self.data_dir)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not _descendants(self.data_dir))


def _descendants(data_dir: Path) -> list[int]:
    """Every process that works in the data directory: the keeper, its tasks, what they started."""
    found = []
    for pid in linux.processes():
        try:
            cwd = Path(f"/proc/{pid}/cwd").readlink()
        except OSError:
            continue
        if cwd.is_relative_to(data_dir) and pid != os.getpid() and linux.start_time(pid) is not None:
            found.append(pid)
    return found


def names_in(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def compiled(folder: Path, name: str, source: str) -> Path | None:
    """A static executable made of C source; None without a compiler."""
    code, program = folder / f"{name}.c", folder / name
    code.write_text(source)
    try:
        subprocess.run(["gcc", "-O1", "-static", "-o", program, code], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    program.chmod(0o755)
    return program


def python(code: str) -> list[str]:
    """The argv of a Python script that needs no site packages."""
    return ["/usr/bin/env", "python3", "-I", "-S", "-u", "-c", code]
