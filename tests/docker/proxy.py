"""A proxy in front of a real engine's socket, or of any other server, that does to chosen requests what engines do on
bad days. Each request has a connection of its own; threads end with their connections."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HEAD_END = b"\r\n\r\n"
_TLS_HELLO = b"\x16\x03"


@dataclass
class Fault:
    """What becomes of the next `times` requests whose first line matches `pattern` ("POST /containers/x/start")."""

    pattern: str
    status: int = 500
    message: str = "it stumbled"
    half: bool = False
    """The answer breaks off; what was asked has happened."""
    drip: float = 0.0
    """So many seconds pass between the bytes of the answer."""
    times: int = 1
    met: int = 0


@dataclass
class Proxy:
    """`faults` may be changed at any time. Answers stop after `pass_bytes` bytes until
    `go_on` is set."""

    target: str | tuple[str, int]
    faults: list[Fault] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    pass_bytes: int | None = None
    stalled: int = 0

    def fail(self, pattern: str, **how: object) -> Fault:
        fault = Fault(pattern, **how)  # type: ignore[arg-type]
        self.faults.append(fault)
        return fault

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._meet, args=(peer,), daemon=True).start()

    def _meet(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            head, body = _request(peer)
            if not head:
                return
            first, _, rest = head.partition(b"\r\n")
            fault = self._fault(first.decode())
            if fault is not None and not (fault.half or fault.drip):
                text = json.dumps({"message": fault.message}).encode()
                peer.sendall(_answer(fault.status, text))
                return
            with _connected(self.target) as server:
                server.sendall(first + b"\r\nConnection: close\r\n" + _without_connection(rest) + body)
                self._pass_on(server, peer, fault)

    def _fault(self, first: str) -> Fault | None:
        for fault in self.faults:
            if fault.met < fault.times and re.search(fault.pattern, first):
                fault.met += 1
                return fault
        return None

    def _pass_on(self, server: socket.socket, peer: socket.socket, fault: Fault | None) -> None:
        passed = 0
        gone = threading.Thread(target=_until_it_leaves, args=(peer, server), daemon=True)
        gone.start()
        while block := server.recv(65536):
            if fault is not None and fault.drip:
                _drip(block, peer, fault.drip)
                continue
            if fault is not None:
                peer.sendall(block[: len(block) * 2 // 3 if b"{" in block else 10])
                break
            if self.pass_bytes is not None and passed >= self.pass_bytes:
                self.stalled += 1
                self.go_on.wait(60)
            peer.sendall(block)
            passed += len(block)
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)
        gone.join()


def _drip(block: bytes, peer: socket.socket, pause: float) -> None:
    for at in range(len(block)):
        peer.sendall(block[at : at + 1])
        if select.select([peer], [], [], pause)[0]:
            return


def _until_it_leaves(peer: socket.socket, server: socket.socket) -> None:
    """Who hangs up on the proxy hangs up on the server."""
    with contextlib.suppress(OSError):
        while peer.recv(4096):
            pass
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)


def _request(peer: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while _HEAD_END not in data:
        block = peer.recv(65536)
        if not block or block.startswith(_TLS_HELLO):  # whoever is told so tries without
            return b"", b""
        data += block
    head, _, body = data.partition(_HEAD_END)
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    while length is not None and len(body) < int(length[1]):
        body += peer.recv(65536)
    return head + _HEAD_END, body


def _without_connection(head: bytes) -> bytes:
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join(lines)


def _answer(status: int, text: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Fault\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


def _connected(target: str | tuple[str, int]) -> socket.socket:
    if isinstance(target, tuple):
        return socket.create_connection(target)
    server = socket.socket(socket.AF_UNIX)
    server.connect(target)
    return server


@contextlib.contextmanager
def unix_proxy(target: Path) -> Iterator[tuple[Proxy, str]]:
    """The proxy and its address."""
    with tempfile.TemporaryDirectory(prefix="pdk-", dir="/tmp") as folder:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{folder}/proxy.sock")
        with _serving(listener, str(target)) as proxy:
            yield proxy, f"unix://{folder}/proxy.sock"


@contextlib.contextmanager
def tcp_proxy(target: str | tuple[str, int]) -> Iterator[tuple[Proxy, str]]:
    """The proxy and its host:port."""
    listener = socket.create_server(("127.0.0.1", 0))
    with _serving(listener, target) as proxy:
        yield proxy, f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def _serving(listener: socket.socket, target: str | tuple[str, int]) -> Iterator[Proxy]:
    listener.listen(128)
    proxy = Proxy(target)
    thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.go_on.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
