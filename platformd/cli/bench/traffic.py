"""Requests to the gateway with as little of our own time in them as Python allows. Called by the measurements.

`Visitor` keeps one connection and times one request after the other; `burst` sends many at once and waits for all.
Single-threaded.
"""

from __future__ import annotations

import select
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from platformd import clock
from platformd.cli.bench.floors import CannotMeasure

_PATIENCE_SECS = 90.0


@dataclass(frozen=True, slots=True)
class Visit:
    """`seconds` from before the request was sent to the first byte of its answer; `cold` when it woke the app."""

    seconds: float
    status: int
    cold: bool


class Visitor:
    """One kept connection to the gateway."""

    def __init__(self, gateway_url: str, host: str) -> None:
        self._socket = socket.create_connection(address_of(gateway_url), timeout=_PATIENCE_SECS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def visit(self) -> Visit:
        begun = clock.monotonic()
        self._socket.sendall(self._request)
        said = self._socket.recv(65536)
        took = clock.monotonic() - begun
        while b"\r\n\r\n" not in said:
            said += self._more()
        head, _, body = said.partition(b"\r\n\r\n")
        left = _length(head) - len(body)
        while left > 0:
            left -= len(self._more())
        return Visit(took, int(head[9:12]), b"wake;dur=" in head)

    def _more(self) -> bytes:
        block = self._socket.recv(65536)
        if not block:
            raise CannotMeasure("the gateway closed a connection in the middle of an answer")
        return block


@dataclass(frozen=True, slots=True)
class Burst:
    """How many answers had which status (0: none came), and the seconds from the first connect to each answer's end."""

    statuses: dict[int, int]
    seconds: list[float]

    @property
    def last(self) -> float:
        return max(self.seconds, default=0.0)


def burst(gateway_url: str, hosts: Sequence[str]) -> Burst:
    """One request to each of `hosts`, each on a connection of its own, all at once."""
    address = address_of(gateway_url)
    poller = select.epoll()
    open_: dict[int, tuple[socket.socket, bytes, bytearray]] = {}
    statuses: Counter[int] = Counter()
    seconds: list[float] = []
    begun = clock.monotonic()
    try:
        for host in hosts:
            peer = socket.socket()
            peer.setblocking(False)
            peer.connect_ex(address)
            request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            open_[peer.fileno()] = (peer, request, bytearray())
            poller.register(peer, select.EPOLLOUT)
        while open_ and clock.monotonic() - begun < _PATIENCE_SECS:
            for number, _ in poller.poll(1.0):
                peer, request, said = open_[number]
                if request:
                    _send(peer, request)
                    open_[number] = (peer, b"", said)
                    poller.modify(number, select.EPOLLIN)
                    continue
                if _receive(peer, said):
                    continue
                seconds.append(clock.monotonic() - begun)
                statuses[_status(said)] += 1
                poller.unregister(number)
                open_.pop(number)[0].close()
        statuses[0] += len(open_)
    finally:
        poller.close()
        for peer, _, _ in open_.values():
            peer.close()
    return Burst({status: count for status, count in statuses.items() if count}, seconds)


def address_of(url: str) -> tuple[str, int]:
    where = urlsplit(url)
    return where.hostname or "", where.port or 80


def _send(peer: socket.socket, request: bytes) -> None:
    try:
        peer.send(request)
    except OSError:  # refused, or gone: reading says so, too
        return


def _receive(peer: socket.socket, said: bytearray) -> bool:
    """False once nothing more comes."""
    try:
        block = peer.recv(65536)
    except BlockingIOError:
        return True
    except OSError:
        return False
    said += block
    return bool(block)


def _status(said: bytearray) -> int:
    head, end, body = bytes(said).partition(b"\r\n\r\n")
    complete = bool(end) and len(body) >= _length(head)
    return int(head[9:12]) if complete and head[9:12].isdigit() else 0


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0
