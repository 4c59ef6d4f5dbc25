"""A load of HTTP requests, in a process of its own: as fast as they are answered, or at a steady rate.

Run by `bench api` as `python -m platformd.cli.bench.load`, which reads an `Order` as JSON from stdin and prints what it
found as JSON. Answers must have a Content-Length. Single-threaded.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from platformd import clock
from platformd.cli.bench.report import percentile

_LENGTH = b"content-length:"
_PATIENCE_SECS = 10.0


@dataclass(frozen=True, slots=True)
class Order:
    """`requests` are (method, path, body), taken in turn over so many kept connections for so many seconds. With a
    `rate` each is due at its time, and its answer is late by as much as it waited for a free connection, too."""

    host: str
    port: int
    requests: Sequence[Sequence[str]]
    connections: int
    seconds: float
    rate: float | None = None
    cpus: Sequence[int] = ()
    """Those it runs on; all when there are none."""


class _Connection:
    """`due` is when its request should have been sent."""

    def __init__(self, order: Order) -> None:
        self.peer = socket.create_connection((order.host, order.port), timeout=_PATIENCE_SECS)
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._said = b""
        self._left = -1

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._said, self._left = b"", -1
        self.peer.sendall(request)

    def receive(self) -> int | None:
        """The status once the answer is complete; 0 when the connection broke."""
        block = self.peer.recv(65536)
        if not block:
            return 0
        self._said += block
        if self._left < 0:
            end = self._said.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = self._said[:end].lower()
            at = head.find(_LENGTH)
            length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self._left = end + 4 + length
        return int(self._said[9:12]) if len(self._said) >= self._left else None


def run(order: Order) -> dict[str, Any]:
    """Sends it and waits for the last answer."""
    requests = cycle([_written(order, *each) for each in order.requests])
    connections = {
        each.peer.fileno(): each for each in (_Connection(order) for _ in range(order.connections))
    }
    free = deque(connections.values())
    waiting: deque[float] = deque()
    poller = select.epoll()
    for number in connections:
        poller.register(number, select.EPOLLIN)
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    began = clock.monotonic()
    until, next_due = began + order.seconds, began
    step = 0.0 if order.rate is None else 1 / order.rate
    while True:
        now = clock.monotonic()
        if now < until and order.rate is None:
            waiting.extend([now] * len(free))
        while order.rate is not None and next_due <= now and next_due < until:
            waiting.append(next_due)
            next_due += step
        while waiting and free:
            free.popleft().send(next(requests), waiting.popleft())
        if now >= until and len(free) == len(connections):
            break
        if now > until + _PATIENCE_SECS:
            statuses[0] += len(connections) - len(free) + len(waiting)
            break
        pause = 0.5 if order.rate is None else max(0.0, next_due - now)
        for number, _ in poller.poll(pause):
            connection = connections[number]
            status = connection.receive()
            if status is None:
                continue
            statuses[status] += 1
            latencies.append(clock.monotonic() - connection.due)
            if status == 0:
                raise ConnectionError("the server closed a connection in the middle of an answer")
            free.append(connection)
    took = clock.monotonic() - began
    return {
        "answers": len(latencies),
        "seconds": took,
        "rate": len(latencies) / took,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "p50": percentile(latencies, 50),
        "p99": percentile(latencies, 99),
        "worst": max(latencies),
    }


def _written(order: Order, method: str, path: str, body: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {order.host}:{order.port}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
    return f"{head}\r\n{body}".encode()


if __name__ == "__main__":
    order = Order(**json.load(sys.stdin))
    if order.cpus:
        os.sched_setaffinity(0, order.cpus)
    json.dump(run(order), sys.stdout)
