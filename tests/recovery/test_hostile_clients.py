"""Hostile clients at the gateway of a whole server: ambiguous requests, slow ones, and far too many connections."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.platform import Platform, host_of
from tests.support import eventually

IDLE, SLOW, HALF_OPEN = 2000, 200, 100
HEAD_SECS = 10
_PAUSE = threading.Event()

SECOND = "GET /second HTTP/1.1\r\nHost: {host}\r\n\r\n"
HEAD = "POST /first HTTP/1.1\r\nHost: {host}\r\n"
AMBIGUOUS = {
    "length and chunked": HEAD + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "two lengths": HEAD + "Content-Length: 0\r\nContent-Length: 60\r\n\r\n" + SECOND,
    "folded header": HEAD + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "bare LF": HEAD.replace("\r\n", "\n") + "\n" + SECOND,
    "two hosts": HEAD + "Host: other\r\n\r\n" + SECOND,
    "a hundred thousand headers": HEAD + "A: b\r\n" * 100_000 + "\r\n" + SECOND,
}


class Raw:
    """A connection to the gateway that sends what no good client would."""

    def __init__(self, platform: Platform) -> None:
        where = urlsplit(platform.gateway_url)
        self.sock = socket.create_connection((where.hostname, where.port), timeout=30)

    def status(self) -> int | None:
        """Of the one answer, after which the connection must end; None when it is cut without one."""
        answer = b""
        try:
            while piece := self.sock.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
        assert answer.count(b"\nContent-Type:") <= 1, answer
        return int(answer.split()[1]) if answer else None


def hits(platform: Platform, host: str) -> int:
    return int(platform.get(host, "/hits").text)


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_no_second_request_out_of_an_ambiguous_one(server: Platform, host: str, name: str) -> None:
    before = hits(server, host)
    raw = Raw(server)
    with raw.sock:
        try:
            raw.sock.sendall(AMBIGUOUS[name].format(host=host).encode())
        except OSError:  # refused before all of it was sent
            assert name == "a hundred thousand headers"
        assert raw.status() in ((431, None) if "thousand" in name else (400,))
    assert hits(server, host) == before


def test_chunk_extensions_mean_one_request(server: Platform, host: str) -> None:
    before = hits(server, host)
    raw = Raw(server)
    with raw.sock:
        head = HEAD + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        raw.sock.sendall(f"{head}5;a=b;c\r\nhello\r\n0;d\r\n\r\n{SECOND}".format(host=host).encode())
        assert raw.status() in (200, 400)
    assert hits(server, host) <= before + 1


@pytest.fixture(scope="module")
def host(server: Platform, tiny: Path) -> str:
    return host_of(server.deploy(tiny))


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + SLOW + HALF_OPEN + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"a process may have {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.needs("descriptors")
def test_slow_and_silent_clients_bother_nobody(server: Platform, host: str, many_descriptors: None) -> None:
    """Thousands that send nothing, a byte at a time, or read nothing; a server killed among them; others are served."""
    with ExitStack() as stack:

        def crowd(size: int) -> list[Raw]:
            members = [Raw(server) for _ in range(size)]
            for one in members:
                stack.callback(one.sock.close)
            return members

        crowd(IDLE)
        slow, deaf = crowd(SLOW), crowd(HALF_OPEN)
        begun = time.monotonic()
        for one in slow:
            one.sock.sendall(b"GET /slow HTTP/1.1\r\nX: ")
        for one in deaf:
            one.sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() * 50)
        slowest = 0.0
        killed = False
        while time.monotonic() < begun + HEAD_SECS - 2:
            asked = time.monotonic()
            assert server.get(host).status == 200
            slowest = max(slowest, time.monotonic() - asked)
            for one in slow:
                one.sock.sendall(b"x")
            if not killed:
                server.kill()
                server.start()
                killed = True
            _PAUSE.wait(0.5)
        assert slowest < 2, slowest
        for one in slow:
            assert one.status() == 408
        assert HEAD_SECS - 1 < time.monotonic() - begun < HEAD_SECS + 5
    eventually(lambda: server.get(host).status == 200)
