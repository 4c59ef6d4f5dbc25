"""A real gateway process with a fake serve on its unix socket, and small real apps behind it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOYMENT = "11111111-1111-4111-8111-111111111111"
TASK = "22222222-2222-4222-8222-222222222222"
HOST = "app.localhost"


class FakeServe:
    """Serve's end of the socket: hears everything, says what a test tells it to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "serve.sock"
        self.heard: list[dict[str, Any]] = []
        self.epoch = 0
        self._changed = threading.Condition()
        self._peer: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self.listen()

    def listen(self) -> None:
        """Be there; again after `die`."""
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, args=(self._listener,), daemon=True)
        self._thread.start()

    def die(self) -> None:
        """Gone, as after kill -9."""
        assert self._listener is not None and self._thread is not None
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        if peer is not None:
            peer.close()

    def send(self, **message: Any) -> None:
        assert self._peer is not None
        self._peer.sendall(json.dumps(message).encode() + b"\n")

    def sync(
        self, hosts: dict[str, Any], deployments: dict[str, Any], targets: dict[str, Any] | None = None
    ) -> None:
        """A full table."""
        self.epoch += 1
        self.send(op="reset", epoch=self.epoch)
        self.send(op="routes", hosts=hosts, deployments=deployments)
        for deployment, tasks in (targets or {}).items():
            self.send(op="targets", deployment=deployment, tasks=tasks)
        self.send(op="synced")

    def hear(self, op: str, count: int = 1, timeout: float = 10.0, **fields: Any) -> dict[str, Any]:
        """The `count`th message `op` with these fields; waits for it."""

        def matching() -> list[dict[str, Any]]:
            return [
                m for m in self.heard if m["op"] == op and all(m.get(key) == v for key, v in fields.items())
            ]

        with self._changed:
            if not self._changed.wait_for(lambda: len(matching()) >= count, timeout):
                raise AssertionError(f"no {op} {fields} number {count}; heard {self.heard[-20:]}")
            return matching()[count - 1]

    def count(self, op: str) -> int:
        return sum(message["op"] == op for message in self.heard)

    def requests(self, deployment: str = DEPLOYMENT) -> dict[str, int]:
        """All requests reported so far, by class of status."""
        total: dict[str, int] = {}
        for message in [*self.heard]:
            if message["op"] == "load":
                for kind, count in message["deployments"].get(deployment, {}).get("requests", {}).items():
                    total[kind] = total.get(kind, 0) + count
        return total

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            self._peer = peer
            self._read(peer)
            if self._peer is peer:
                self._peer = None
                peer.close()

    def _read(self, peer: socket.socket) -> None:
        rest = b""
        while True:
            try:
                data = peer.recv(65536)
            except OSError:
                return
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            with self._changed:
                self.heard += [json.loads(line) for line in lines]
                self._changed.notify_all()


class Gateway:
    """The process, its listening socket held by the test as the keeper would."""

    def __init__(self, folder: Path, *arguments: str, serve: bool = True) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.address: tuple[str, int] = self.listener.getsockname()
        self.serve = FakeServe(folder) if serve else None
        self._folder = folder
        self._arguments = arguments
        self._log = folder / "gateway.log"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Another process on the same listener."""
        descriptor = self.listener.fileno()
        # It must be descriptor 3, as the keeper's spawn makes it.
        mover = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"
        command = [
            sys.executable, "-I", "-S", "-c", mover, str(descriptor),
            sys.executable, "-m", "platformd.gateway",
            "--serve-socket", str(self._folder / "serve.sock"), "--log-format", "json", *self._arguments,
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                pass_fds=(descriptor,),
                cwd=ROOT,
                stderr=log,
                env=os.environ | {"LISTEN_FDS": "1"},
            )
        return self.process

    def log(self) -> str:
        return self._log.read_text()

    def memory(self) -> int:
        """Resident bytes."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(statm[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        if self.serve is not None:
            self.serve.die()
        self.listener.close()

    def open(self, address: tuple[str, int], **config: Any) -> None:
        """Route HOST to one deployment with one task at `address`."""
        assert self.serve is not None
        self.serve.hear("hello")
        self.serve.sync({HOST: DEPLOYMENT}, {DEPLOYMENT: config}, {DEPLOYMENT: [target(address)]})
        self._await_routes()

    def sleep(self, **config: Any) -> None:
        """Route HOST to one deployment without a task."""
        assert self.serve is not None
        self.serve.hear("hello")
        self.serve.sync({HOST: DEPLOYMENT}, {DEPLOYMENT: config})
        self._await_routes()

    def release(self, *addresses: tuple[str, int], slow_start: bool = True) -> None:
        """The deployment's tasks are open, at these addresses."""
        assert self.serve is not None
        tasks = [target(a, TASK[:-1] + str(i), slow_start=slow_start) for i, a in enumerate(addresses)]
        self.serve.send(op="targets", deployment=DEPLOYMENT, tasks=tasks)

    def _await_routes(self) -> None:
        assert self.serve is not None
        epoch = self.serve.epoch
        eventually(lambda: f'"epoch": {epoch}' in self.log())

    def connect(self, timeout: float = 10.0) -> socket.socket:
        return socket.create_connection(self.address, timeout=timeout)

    def ask(self, request: bytes, timeout: float = 10.0) -> Reply:
        """Send `request` on a connection of its own and read one answer."""
        with self.connect(timeout) as connection:
            connection.sendall(request)
            return Reply.read(connection, head_only=request.startswith(b"HEAD"))

    def get(self, path: str = "/", host: str = HOST, timeout: float = 10.0, **headers: str) -> Reply:
        return self.ask(get(path, host, **headers), timeout)


def target(address: tuple[str, int], task: str = TASK, *, slow_start: bool = False) -> dict[str, Any]:
    return {"task": task, "address": list(address), "slow_start": slow_start}


def get(path: str = "/", host: str = HOST, **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode()


class Reply:
    """One HTTP answer as it came over the wire."""

    def __init__(self, head: bytes, body: bytes, rest: bytes) -> None:
        self.head = head
        self.body = body
        self.rest = rest
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1]) if first else 0
        self.headers: dict[str, str] = {}
        for line in filter(None, lines):
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json", self.head
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["request_id"] == self.headers["x-request-id"]
        return problem

    @classmethod
    def read(cls, connection: socket.socket, had: bytes = b"", *, head_only: bool = False) -> Reply:
        """The next answer; an empty one (status 0) when the connection ends before a head."""
        data = had
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return cls(b"", data, b"")
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        reply = cls(head, b"", rest)
        if head_only or reply.status < 200 or reply.status in (204, 304):
            return reply
        if "content-length" in reply.headers:
            length = int(reply.headers["content-length"])
            while len(rest) < length:
                more = connection.recv(65536)
                if not more:
                    raise ConnectionError(f"the answer broke off at {len(rest)} of {length} bytes")
                rest += more
            return cls(head, rest[:length], rest[length:])
        if reply.headers.get("transfer-encoding") == "chunked":
            return cls(head, *_dechunk(connection, rest))
        while more := connection.recv(65536):
            rest += more
        return cls(head, rest, b"")


def _dechunk(connection: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    """The body of a chunked answer; what follows it (trailers included) is the rest."""
    body = b""
    while True:
        while b"\r\n" not in data:
            data += _some(connection)
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            while not data.endswith(b"\r\n"):
                data += _some(connection)
            return body, data
        while len(data) < length + 2:
            data += _some(connection)
        body += data[:length]
        data = data[length + 2 :]


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the answer broke off")
    return data


class App:
    """A little server: `handle(connection, head, rest)` answers one request; returns False to close.

    Counts connections and keeps the heads it saw; `open` are those that it has not closed.
    """

    def __init__(
        self, handle: Callable[[App, socket.socket, bytes, bytes], bool], backlog: int = 1024
    ) -> None:
        self._handle = handle
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.address: tuple[str, int] = self._listener.getsockname()
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.active = self.most_active = 0
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def stop_listening(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def stop(self) -> None:
        self.gate.set()
        if self._listener.fileno() >= 0:
            self.stop_listening()
        for connection in [*self.open]:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in [*self._threads]:
            thread.join(5)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.add(connection)
            self._start(self._talk, connection)

    def _talk(self, connection: socket.socket) -> None:
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    more = connection.recv(65536)
                    if not more:
                        return
                    data += more
                head, _, rest = data.partition(b"\r\n\r\n")
                with self.lock:
                    self.heads.append(head)
                    self.active += 1
                    self.most_active = max(self.active, self.most_active)
                try:
                    if not self._handle(self, connection, head, rest):
                        return
                finally:
                    with self.lock:
                        self.active -= 1
                data = b""
        except OSError:
            return
        finally:
            connection.close()
            self.open.discard(connection)


def body_of(connection: socket.socket, head: bytes, rest: bytes) -> bytes:
    """The request's body, by length or chunked."""
    reply = Reply(b"HTTP/1.1 200 x\r\n" + head.partition(b"\r\n")[2], b"", rest)
    if reply.headers.get("transfer-encoding") == "chunked":
        body, after = _dechunk(connection, rest)
        return body + b"|" + after if after != b"\r\n" else body
    length = int(reply.headers.get("content-length", "0"))
    while len(rest) < length:
        rest += _some(connection)
    return rest[:length]


def say(body: bytes = b"hello", *headers: str, status: str = "200 OK") -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answering(data: bytes, *, keep: bool = True) -> Callable[[App, socket.socket, bytes, bytes], bool]:
    """A handler that reads the request's body and always answers `data`."""

    def handle(app: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        app.bodies.append(body_of(connection, head, rest))
        connection.sendall(data)
        return keep

    return handle
