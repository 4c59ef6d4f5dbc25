"""Requests to an app that is awake: what arrives there, what comes back."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway.harness import HOST, App, Gateway, Reply, body_of, get, say
from tests.support import eventually

Apps = Callable[..., App]
BAD_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
Handler = Callable[[App, socket.socket, bytes, bytes], bool]


def writing(*pieces: bytes, keep: bool = True) -> Handler:
    def handle(_: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        body_of(connection, head, rest)
        for piece in pieces:
            connection.sendall(piece)
        return keep

    return handle


def test_headers_on_the_way(gateway: Gateway, app: Apps) -> None:
    web = app(say(b"hello", "X-Mine: 1", "Keep-Alive: timeout=5"))
    gateway.open(web.address)
    reply = gateway.get(
        "/a?b=c", X_Request_Id="abc", X_Forwarded_For="6.6.6.6", Connection="X-Hop", X_Hop="1"
    )
    assert (reply.status, reply.body) == (200, b"hello")
    assert reply.headers["x-request-id"] == "abc"
    assert reply.headers["x-mine"] == "1"
    assert "keep-alive" not in reply.headers and "server-timing" not in reply.headers
    assert web.heads[0].decode().split("\r\n") == [
        "GET /a?b=c HTTP/1.1",
        f"Host: {HOST}",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        f"X-Forwarded-Host: {HOST}",
        "X-Request-Id: abc",
    ]


def test_each_request_has_an_id_of_its_own(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    with gateway.connect() as connection:
        ids = set()
        for _ in range(3):
            connection.sendall(get())
            ids.add(Reply.read(connection).headers["x-request-id"])
    assert len(ids) == 3 and all(ids)


def test_an_id_the_app_sets_is_not_doubled(gateway: Gateway, app: Apps) -> None:
    gateway.open(app(say(b"x", "X-Request-Id: mine")).address)
    reply = gateway.get()
    assert reply.headers["x-request-id"] == "mine" and reply.head.lower().count(b"x-request-id") == 1


def test_trusted_proxies_are_believed(tmp_path: Path, app: Apps) -> None:
    gateway = Gateway(tmp_path, "--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "10.0.0.0/8")
    try:
        web = app()
        gateway.open(web.address)
        gateway.get(X_Forwarded_For="6.6.6.6", X_Forwarded_Proto="https")
        assert b"X-Forwarded-For: 6.6.6.6, 127.0.0.1\r\nX-Forwarded-Proto: https" in web.heads[0]
    finally:
        gateway.stop()


def test_unknown_host(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    assert gateway.get(host="nobody.localhost").problem["code"] == "NO_HOST"
    assert gateway.get(host="nobody.localhost").status == 404
    assert gateway.get(host="APP.localhost.:80").status == 200


def test_a_known_host_that_leads_nowhere_names_those_that_do(gateway: Gateway) -> None:
    gateway.sleep()
    assert gateway.serve
    nobody = {"status": 404, "code": "NO_DEPLOYMENT", "detail": "none", "names": ["a.localhost"]}
    gateway.serve.send(op="routes", hosts={"b.localhost": nobody}, deployments={})
    reply = eventually(
        lambda: (r := gateway.get(host="b.localhost")).problem["code"] == "NO_DEPLOYMENT" and r
    )
    assert reply.status == 404 and reply.problem["names"] == ["a.localhost"]


def test_a_browser_gets_a_page(gateway: Gateway) -> None:
    gateway.sleep()
    reply = gateway.get(host="<b>", Sec_Fetch_Mode="navigate")
    assert reply.status == 400
    reply = gateway.get(host="nobody", Sec_Fetch_Mode="navigate")
    assert reply.status == 404 and reply.headers["content-type"].startswith("text/html")
    assert b"NO_HOST" in reply.body and reply.headers["x-request-id"].encode() in reply.body


def test_the_connection_is_kept_also_after_answers_of_our_own(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    with gateway.connect() as connection:
        for host, status in ((HOST, 200), ("nobody", 404), (HOST, 200)):
            connection.sendall(f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nbody".encode())
            assert Reply.read(connection).status == status


def test_head_and_bodiless_answers_do_not_eat_the_next(gateway: Gateway, app: Apps) -> None:
    def handle(_: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        status = {b"/204": b"204 No Content", b"/304": b"304 Not Modified"}.get(head.split()[1], b"200 OK")
        body = b"" if head.startswith(b"HEAD") or status != b"200 OK" else b"hello"
        connection.sendall(b"HTTP/1.1 %b\r\nContent-Length: 5\r\n\r\n%b" % (status, body))
        return True

    web = app(handle)
    gateway.open(web.address)
    with gateway.connect() as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: %b\r\n\r\n" % HOST.encode())
        reply = Reply.read(connection, head_only=True)
        assert reply.headers["content-length"] == "5" and reply.rest == b""
        for path, status in (("/204", 204), ("/304", 304), ("/", 200)):
            connection.sendall(get(path))
            reply = Reply.read(connection)
            assert (reply.status, reply.rest) == (status, b"")
    assert reply.body == b"hello"
    assert web.connections == 1


def test_chunked_both_ways_with_trailers(gateway: Gateway, app: Apps) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        web.bodies.append(body_of(connection, head, rest))
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n"
        )
        connection.sendall(b"4;ext=1\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n")
        return True

    web = app(handle)
    gateway.open(web.address)
    head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with gateway.connect() as connection:
        for _ in range(2):
            connection.sendall(head + b"5;x\r\nhel")
            connection.sendall(b"lo\r\n1\r\n!\r\n0\r\nX-Check: 9\r\n\r\n")
            reply = Reply.read(connection)
            assert reply.body == b"abcdefg" and reply.rest == b"X-Sum: 7\r\n\r\n"
            assert reply.headers["transfer-encoding"] == "chunked"
    assert web.bodies == [b"hello!|X-Check: 9\r\n\r\n"] * 2
    assert b"Content-Length" not in web.heads[0]


def test_http_1_0_clients(gateway: Gateway, app: Apps) -> None:
    gateway.open(
        app(writing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")).address
    )
    reply = gateway.ask(b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n" % HOST.encode())
    assert reply.body == b"abc" and "transfer-encoding" not in reply.headers
    assert reply.headers["connection"] == "close"


def test_http_1_0_clients_may_keep_the_connection(gateway: Gateway, app: Apps) -> None:
    gateway.open(app().address)
    with gateway.connect() as connection:
        for _ in range(2):
            connection.sendall(
                b"GET / HTTP/1.0\r\nHost: %b\r\nConnection: keep-alive\r\n\r\n" % HOST.encode()
            )
            reply = Reply.read(connection)
            assert reply.headers["connection"] == "keep-alive" and reply.body == b"hello"


def test_an_answer_without_length_ends_at_close(gateway: Gateway, app: Apps) -> None:
    web = app(writing(b"HTTP/1.1 200 OK\r\n\r\nabc", b"def", keep=False))
    gateway.open(web.address)
    for _ in range(2):
        reply = gateway.get()
        assert reply.body == b"abcdef" and reply.headers["connection"] == "close"
    assert web.connections == 2


@pytest.mark.parametrize(
    "begun",
    [
        b"Content-Length: 10\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ],
)
def test_a_short_answer_never_ends_cleanly(gateway: Gateway, app: Apps, begun: bytes) -> None:
    gateway.open(app(writing(b"HTTP/1.1 200 OK\r\n" + begun, keep=False)).address)
    with pytest.raises(ConnectionError):
        gateway.get()


def test_an_answer_that_turns_bad_in_the_middle_breaks_off(gateway: Gateway, app: Apps) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        web.gate.wait(10)
        connection.sendall(b"zz\r\n")
        return False

    web = app(handle)
    gateway.open(web.address)
    with gateway.connect() as connection:
        connection.sendall(get())
        assert b"200 OK" in connection.recv(1000)
        web.gate.set()
        with pytest.raises(ConnectionResetError):
            connection.recv(1000)


def test_not_even_to_a_client_that_cannot_tell_by_length(gateway: Gateway, app: Apps) -> None:
    """HTTP/1.0 without length: only a reset says that the end is none."""
    cut = writing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", keep=False)
    gateway.open(app(cut).address)
    with pytest.raises(ConnectionResetError):
        gateway.ask(b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n" % HOST.encode())


@pytest.mark.parametrize(
    "answer",
    [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", b"HTTP/1.1 101 Go\r\n\r\n", b"HT", BAD_CHUNK],
)
def test_an_app_that_does_not_speak_http(gateway: Gateway, app: Apps, answer: bytes) -> None:
    gateway.open(app(writing(answer, keep=False)).address)
    reply = gateway.get()
    assert reply.status == 502 and reply.problem["code"] == "UPSTREAM_CLOSED"
    assert gateway.get().status == 502


def test_interim_answers_pass(gateway: Gateway, app: Apps) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    gateway.open(app(writing(hints + hints, b"HTTP/1.1 100 Continue\r\n\r\n" + say())).address)
    with gateway.connect() as connection:
        connection.sendall(get())
        first = Reply.read(connection)
        second = Reply.read(connection, first.rest)
        last = Reply.read(connection, second.rest)
    assert (first.status, second.status, last.status) == (103, 103, 200)
    assert first.headers["link"] == "</a>" and last.body == b"hello"


def test_expect_continue_comes_from_the_app(gateway: Gateway, app: Apps) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        assert rest == b""
        web.gate.wait(10)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        web.bodies.append(body_of(connection, head, b""))
        connection.sendall(say())
        return True

    web = app(handle)
    gateway.open(web.address)
    with gateway.connect() as connection:
        connection.sendall(
            f"PUT / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n".encode()
        )
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(10)
        web.gate.set()
        assert Reply.read(connection).status == 100
        connection.sendall(b"body")
        assert Reply.read(connection).status == 200
    assert web.bodies == [b"body"]
    assert b"Expect: 100-continue" in web.heads[0]


def test_an_early_refusal_reaches_a_client_that_still_sends(gateway: Gateway, app: Apps) -> None:
    def handle(_: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        connection.sendall(say(b"too big", status="413 Content Too Large"))
        return False

    gateway.open(app(handle).address)
    with gateway.connect() as connection:
        connection.sendall(
            f"PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10000000\r\n\r\n".encode() + b"x" * 1000
        )
        reply = Reply.read(connection)
        assert reply.status == 413 and reply.headers["connection"] == "close"


def test_pipelined_requests_are_answered_in_order_one_at_a_time(gateway: Gateway, app: Apps) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        connection.sendall(say(head.split()[1]))
        return True

    web = app(handle)
    gateway.open(web.address)
    with gateway.connect() as connection:
        connection.sendall(b"".join(get(f"/{i}") + get(host="nobody") for i in range(200)))
        rest = b""
        for i in range(200):
            reply = Reply.read(connection, rest)
            assert reply.body == f"/{i}".encode()
            missing = Reply.read(connection, reply.rest)
            assert missing.status == 404
            rest = missing.rest
    assert web.most_active == 1 and web.connections == 1


def test_many_pipelined_requests_we_answer_ourselves(gateway: Gateway) -> None:
    gateway.sleep()
    with gateway.connect() as connection:
        sender = threading.Thread(target=connection.sendall, args=(get(host="nobody") * 5000,))
        sender.start()
        rest = b""
        for _ in range(5000):
            reply = Reply.read(connection, rest)
            assert reply.status == 404
            rest = reply.rest
        sender.join()


def test_large_bodies_stream_both_ways_unharmed(gateway: Gateway, app: Apps) -> None:
    payload = bytes(range(256)) * 40_000

    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        body = body_of(connection, head, rest)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        connection.sendall(body)
        return True

    gateway.open(app(handle).address)
    with gateway.connect(30) as connection:
        head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
        connection.sendall(head + payload)
        reply = Reply.read(connection)
    assert hashlib.sha256(reply.body).digest() == hashlib.sha256(payload).digest()


def test_a_client_that_does_not_read_slows_the_app_down(gateway: Gateway, app: Apps) -> None:
    sent = 0

    def handle(_: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        for _ in range(200):
            connection.sendall(bytes(1_000_000))
            sent += 1
        return False

    gateway.open(app(handle).address)
    before = gateway.memory()
    with gateway.connect() as connection:
        connection.sendall(get())
        seen = [0, 0]

        def stuck() -> bool:
            seen[:] = [sent, seen[0]]
            return 0 < seen[0] == seen[1]

        eventually(stuck, every=0.5)
        assert sent < 50
        assert gateway.memory() - before < 8_000_000


def test_an_app_that_does_not_read_slows_the_client_down(gateway: Gateway, app: Apps) -> None:
    def handle(web: App, connection: socket.socket, head: bytes, rest: bytes) -> bool:
        web.gate.wait(20)
        return False

    gateway.open(app(handle).address)
    before = gateway.memory()
    with gateway.connect(1) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 200000000\r\n\r\n".encode())
        with pytest.raises(TimeoutError):
            connection.sendall(bytes(200_000_000))
        assert gateway.memory() - before < 8_000_000
