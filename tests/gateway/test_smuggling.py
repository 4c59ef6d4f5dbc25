"""Requests that two parsers could read differently get one clear meaning or 400, and the connection ends."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.gateway.harness import HOST, App, Gateway, Reply, get, say
from tests.support import eventually

SECOND = f"GET /second HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
HEAD = f"POST /first HTTP/1.1\r\nHost: {HOST}\r\n"
REFUSED = {
    "length and chunked": HEAD + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "chunked and length": HEAD + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SECOND,
    "two lengths": HEAD + "Content-Length: 0\r\nContent-Length: 60\r\n\r\n" + SECOND,
    "two equal lengths": HEAD + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + SECOND,
    "list of lengths": HEAD + "Content-Length: 0, 0\r\n\r\n" + SECOND,
    "folded line": HEAD + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "folded header": HEAD + "X: a\r\n b\r\n\r\n" + SECOND,
    "bare LF": HEAD.replace("\r\n", "\n") + "\n" + SECOND,
    "bare LF between headers": HEAD + "A: b\nContent-Length: 60\r\n\r\n" + SECOND,
    "bare CR": HEAD + "A: b\rContent-Length: 60\r\n\r\n" + SECOND,
    "space before the colon": HEAD + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "leading space": HEAD + " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "gzip, chunked": HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "two codings": HEAD
    + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
    + SECOND,
    "chunked in 1.0": HEAD.replace("1.1", "1.0") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "another host": f"GET http://other/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n" + SECOND,
    "no host": "GET / HTTP/1.1\r\n\r\n" + SECOND,
    "two hosts": f"GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n" + SECOND,
    "no version": "GET /\r\n\r\n" + SECOND,
    "http 2": f"GET / HTTP/2.0\r\nHost: {HOST}\r\n\r\n" + SECOND,
    "h2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "NUL": HEAD + "A: \0\r\n\r\n" + SECOND,
    "connect": f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\n\r\n" + SECOND,
    "h2c with a body": HEAD + "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx" + SECOND,
    "negative length": HEAD + "Content-Length: -1\r\n\r\n" + SECOND,
    "vertical tab": HEAD + "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SECOND,
}


@pytest.mark.parametrize("name", REFUSED)
def test_never_two_requests_out_of_one(gateway: Gateway, app: Callable[..., App], name: str) -> None:
    web = app()
    gateway.open(web.address)
    with gateway.connect() as connection:
        connection.sendall(REFUSED[name].encode("latin-1"))
        reply = Reply.read(connection)
        assert reply.status in (400, 501), reply.head
        assert reply.problem["code"] == "BAD_FRAMING"
        assert reply.headers["connection"] == "close" and reply.rest == b""
        assert connection.recv(1) == b""
    assert web.heads == []


@pytest.mark.parametrize(
    "body",
    [
        "5\r\nhello\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n",
    ],
)
def test_a_spoiled_chunked_body_ends_the_exchange(
    gateway: Gateway, app: Callable[..., App], body: str
) -> None:
    web = app()
    gateway.open(web.address)
    with gateway.connect() as connection:
        connection.sendall((HEAD + "Transfer-Encoding: chunked\r\n\r\n" + body + SECOND).encode())
        reply = Reply.read(connection)
        assert (reply.status, reply.problem["code"]) == (400, "BAD_FRAMING")
        assert connection.recv(1) == b""
    assert web.bodies == []
    assert not [head for head in web.heads if b"/second" in head]


def test_chunk_extensions_do_not_reach_the_app(gateway: Gateway, app: Callable[..., App]) -> None:
    raw: list[bytes] = []

    def handle(_: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        raw.append(rest if rest else connection.recv(65536))
        connection.sendall(say())
        return True

    gateway.open(app(handle).address)
    gateway.ask((HEAD + "Transfer-Encoding: chunked\r\n\r\n5;evil=1\r\nhello\r\n0\r\n\r\n").encode())
    assert raw == [b"5\r\nhello\r\n0\r\n\r\n"]


def test_body_bytes_are_no_request(gateway: Gateway, app: Callable[..., App]) -> None:
    web = app()
    gateway.open(web.address)
    with gateway.connect() as connection:
        connection.sendall((HEAD + f"Content-Length: {len(SECOND)}\r\n\r\n" + SECOND + SECOND).encode())
        first = Reply.read(connection)
        assert Reply.read(connection, first.rest).status == 200
    assert web.bodies == [SECOND.encode(), b""]


def test_h2c_without_a_body_is_served_as_http_1(gateway: Gateway, app: Callable[..., App]) -> None:
    web = app()
    gateway.open(web.address)
    assert (
        gateway.get(Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAMAAABk").status
        == 200
    )
    assert b"h2c" not in web.heads[0] and b"HTTP2" not in web.heads[0]


def test_empty_lines_before_a_request_are_passed_over(gateway: Gateway, app: Callable[..., App]) -> None:
    gateway.open(app().address)
    assert gateway.ask(b"\r\n\r\n" + get()).status == 200


@pytest.mark.parametrize("shape", ["one long", "many", "unfinished", "in one go"])
def test_heads_beyond_64_kib(gateway: Gateway, app: Callable[..., App], shape: str) -> None:
    web = app()
    gateway.open(web.address)
    lines = {
        "one long": "A: " + "x" * 70_000,
        "many": "A: b\r\n" * 100_000,
        "unfinished": "A: " + "x" * 70_000,
    }
    head = HEAD + lines.get(shape, "A: " + "x" * 66_000) + ("" if shape == "unfinished" else "\r\n\r\n")
    with gateway.connect() as connection:
        try:
            connection.sendall(head.encode())
        except ConnectionError:
            assert shape == "many"
        reply = Reply.read(connection)
        assert (reply.status, reply.problem["code"]) == (431, "HEADER_TOO_LARGE")
    assert web.heads == []
    assert gateway.get().status == 200


def test_a_head_just_within_the_limit_passes(gateway: Gateway, app: Callable[..., App]) -> None:
    web = app()
    gateway.open(web.address)
    assert gateway.get(X="y" * 64_000).status == 200
    eventually(lambda: web.heads)


@pytest.mark.parametrize("length", range(1, 8))
def test_a_head_may_begin_with_any_number_of_bytes(
    gateway: Gateway, app: Callable[..., App], length: int
) -> None:
    gateway.open(app().address)
    with gateway.connect() as connection:
        connection.send(get()[:length])
        for _ in range(2):  # once others are served, the gateway has read what there was
            with gateway.connect() as other:
                other.send(get())
                assert Reply.read(other).status == 200
        connection.send(get()[length:])
        assert Reply.read(connection).status == 200


def test_a_head_may_arrive_byte_by_byte(gateway: Gateway, app: Callable[..., App]) -> None:
    gateway.open(app().address)
    with gateway.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in get() + get("/2"):
            connection.send(bytes([byte]))
        first = Reply.read(connection)
        assert (first.status, Reply.read(connection, first.rest).status) == (200, 200)
