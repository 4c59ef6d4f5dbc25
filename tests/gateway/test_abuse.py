"""Hostile bytes and rude clients: nothing leaks, nothing breaks, everybody else is served."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from tests.gateway.harness import HOST, App, Gateway, Reply, body_of, get, say
from tests.support import eventually

Apps = Callable[..., App]
PIECES = [
    b"GET", b"POST", b" ", b"/", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b":", b"Host: ",
    HOST.encode(), b"Content-Length: ", b"5", b"-1", b"Transfer-Encoding: chunked", b"Connection: close",
    b"Upgrade: websocket", b"Connection: upgrade", b"Expect: 100-continue", b"hello", b"\0", b"\xff", b"0\r\n\r\n",
    b"5\r\nhello\r\n", b";", b"\t",
]  # fmt: skip


def descriptors(gateway: Gateway) -> int:
    return len(os.listdir(f"/proc/{gateway.process.pid}/fd"))


def noise(chance: random.Random) -> bytes:
    """Bytes that resemble requests more or less."""
    kind = chance.random()
    if kind < 0.2:
        return chance.randbytes(chance.randint(1, 300))
    if kind < 0.6:
        return b"".join(chance.choices(PIECES, k=chance.randint(1, 40)))
    good = bytearray(
        f"POST /x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode()
        if kind < 0.8
        else f"POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello".encode()
    )
    for _ in range(chance.randint(1, 3)):
        good[chance.randrange(len(good))] = chance.choice(b"\r\n :;\0\x0b5x")
    return bytes(good)


def test_noise_gets_4xx_or_an_answer_and_nothing_breaks(gateway: Gateway, app: Apps) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    gateway.open(app().address)
    gateway.get()
    baseline = descriptors(gateway)
    for number in range(400):
        with gateway.connect() as connection:
            connection.sendall(noise(chance))
            connection.shutdown(socket.SHUT_WR)
            try:
                status = Reply.read(connection).status
            except ConnectionError:
                continue
            assert status < 500 or status == 501, f"seed {seed}, number {number}"
    assert gateway.process.poll() is None
    assert gateway.get().status == 200
    eventually(lambda: descriptors(gateway) <= baseline + 2)


def test_rude_clients_and_apps_leak_nothing(gateway: Gateway, app: Apps) -> None:
    """Every way an exchange can end, many times over: places, connections and activity all come back."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    endings = [
        say(b"x" * 1000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil close",
        b"garbage\r\n\r\n",
        b"",
    ]

    def handle(_: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        answer = chance.choice(endings)
        if chance.random() < 0.7:
            body_of(connection, head, rest)
        if chance.random() < 0.1:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(answer)
        return answer in (endings[0], endings[2]) and chance.random() < 0.8

    web = app(handle)
    gateway.open(web.address, concurrency=5)
    serve = gateway.serve
    assert serve
    baseline = descriptors(gateway)
    open_: list[socket.socket] = []
    for _ in range(600):
        connection = gateway.connect()
        open_.append(connection)
        body = b"b" * chance.choice([0, 10, 100_000])
        head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        connection.setblocking(False)
        connection.send(chance.choice([get(), head + body, head + body[:5], get() * 3]))
        while len(open_) > 20:
            leaving = open_.pop(chance.randrange(len(open_)))
            if chance.random() < 0.5:
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            leaving.close()
    for connection in open_:
        connection.close()
    eventually(lambda: descriptors(gateway) <= baseline + 6, timeout=20)
    quiet = serve.hear("quiet")
    assert quiet["deployment"]
    load = [m for m in serve.heard if m["op"] == "load"][-1]
    assert (load["total_inflight"], load["total_held"]) == (0, 0), f"seed {seed}"
    serve.send(op="close", deployment=quiet["deployment"], tasks=["x"], mode="idle", since=2**62)
    serve.hear("closed")


def test_brief_and_full_errors_by_flag(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, "--errors", "full")
    try:
        gateway.sleep()
        assert gateway.serve
        with gateway.connect() as connection:
            connection.sendall(get())
            wake = gateway.serve.hear("wake")
            gateway.serve.send(
                op="wake_failed",
                deployment=wake["deployment"],
                status=502,
                code="WAKE_CRASHED",
                detail="x",
                exit_code=3,
            )
            assert Reply.read(connection).problem["exit_code"] == 3
    finally:
        gateway.stop()
