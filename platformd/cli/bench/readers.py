"""Many readers of one stream, in a process of its own: how many lines they get, and how late.

Run by `bench sse` as `python -m platformd.cli.bench.readers`, which reads an `Order` as JSON from stdin, says `reading`
when all readers have got something, and prints what it found as JSON. How late a line is counts from its time stamp,
which it got from the keeper on this machine. Single-threaded.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platformd import clock
from platformd.cli.bench.report import percentile

_STAMP = re.compile(rb'"timestamp":"([^"]+)"')
_ENTRY = b"\ndata: {"
_PATIENCE_SECS = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """`readers` connections to `path`, watched for so many seconds once all have begun."""

    host: str
    port: int
    path: str
    readers: int
    seconds: float
    cpus: Sequence[int] = ()


def run(order: Order) -> dict[str, Any]:
    """A delay is that of the oldest line in what a reader takes at once."""
    poller = select.epoll()
    request = (
        f"GET {order.path} HTTP/1.1\r\nHost: {order.host}:{order.port}\r\nAccept: text/event-stream\r\n\r\n"
    )
    peers: dict[int, socket.socket] = {}
    for _ in range(order.readers):
        peer = socket.create_connection((order.host, order.port), timeout=_PATIENCE_SECS)
        peer.sendall(request.encode())
        peers[peer.fileno()] = peer
        poller.register(peer.fileno(), select.EPOLLIN)
    _await_all(poller, peers)
    print("reading", flush=True)
    lines, delays = dict.fromkeys(peers, 0), array("d")
    began = now = clock.monotonic()
    while now - began < order.seconds:
        for number, _ in poller.poll(0.1):
            block = peers[number].recv(1 << 18)
            if not block:
                raise ConnectionError("the server ended a stream")
            lines[number] += block.count(_ENTRY)
            if found := _STAMP.search(block):
                stamp = datetime.fromisoformat(found[1].decode())
                delays.append((clock.now() - stamp).total_seconds())
        now = clock.monotonic()
    return {
        "seconds": now - began,
        "lines": sum(lines.values()),
        "fewest": min(lines.values()),
        "p50": percentile(delays, 50),
        "p99": percentile(delays, 99),
        "worst": max(delays),
    }


def _await_all(poller: select.epoll, peers: dict[int, socket.socket]) -> None:
    silent = set(peers)
    deadline = clock.monotonic() + _PATIENCE_SECS
    while silent:
        if clock.monotonic() > deadline:
            raise TimeoutError(f"{len(silent)} readers got nothing")
        for number, _ in poller.poll(0.5):
            if _ENTRY in peers[number].recv(1 << 18):
                silent.discard(number)


if __name__ == "__main__":
    order = Order(**json.load(sys.stdin))
    if order.cpus:
        os.sched_setaffinity(0, order.cpus)
    json.dump(run(order), sys.stdout)
