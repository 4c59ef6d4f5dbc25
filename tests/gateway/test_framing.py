"""The pure checks on heads and chunked bodies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platformd.gateway.chunks import BadChunk, ChunkReader, chunk, last_chunk
from platformd.gateway.framing import (
    BadAnswer,
    Block,
    Fault,
    check_partial,
    read_answer,
    read_block,
    read_target,
)


def block(*lines: str, version: str = "1.1", trusted: bool = False) -> Block:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/{version}", *lines, "")).encode("latin-1")
    return read_block(head, b"10.0.0.9", trusted)


def refused(*lines: str, version: str = "1.1") -> Fault:
    with pytest.raises(Fault) as caught:
        block(*lines, version=version)
    return caught.value


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5, 5",),
        ("Content-Length: +5",),
        ("Content-Length: -1",),
        ("Content-Length: 0x5",),
        ("Content-Length: 5 5",),
        ("Content-Length:",),
        ("Content-Length: 99999999999999999999999",),
        ("A: b", " c"),
        ("A: b", "\tc"),
        (" A: b",),
        ("A : b",),
        ("A",),
        (": b",),
        ("A: b\nC: d",),
        ("A: b\rC: d",),
        ("A: b\x00c",),
        ("A: b\x01c",),
        ('"A: b',),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, gzip",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: identity",),
        ("Transfer-Encoding:\x0bchunked",),
        ("Upgrade: h2c", "Connection: upgrade", "Content-Length: 3"),
    ],
)
def test_ambiguous_heads_are_refused(lines: tuple[str, ...]) -> None:
    fault = refused("Host: a", *lines)
    assert (fault.status, fault.code) == (400, "BAD_FRAMING")


@pytest.mark.parametrize(
    "hosts", [(), ("Host: a", "Host: a"), ("Host:",), ("Host: a b",), ("Host: a/b",), ("Host: u@a",)]
)
def test_exactly_one_valid_host(hosts: tuple[str, ...]) -> None:
    assert refused(*hosts).status == 400


def test_codings_before_chunked_are_not_implemented() -> None:
    assert refused("Host: a", "Transfer-Encoding: gzip, chunked").status == 501


def test_http_1_0_has_no_chunks() -> None:
    assert refused("Host: a", "Transfer-Encoding: chunked", version="1.0").status == 400


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2", "1.1 ", "11", ""])
def test_only_http_1(version: str) -> None:
    assert refused("Host: a", version=version).status == 400


def test_hop_by_hop_headers_are_left_out_and_framing_is_not() -> None:
    lines = (
        block(
            "Host: a",
            "Connection: close, X-Secret, content-length, host, x-forwarded-for",
            "X-Secret: 1",
            "Keep-Alive: 5",
            "Proxy-Connection: x",
            "TE: trailers",
            "Content-Length: 007",
            "X-Kept: ü",
        )
        .forward.decode("latin-1")
        .split("\r\n")
    )
    assert lines == [
        "Host: a",
        "X-Kept: ü",
        "Content-Length: 7",
        "X-Forwarded-For: 10.0.0.9",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: a",
        "",
    ]


FORWARDED = (
    "Host: a",
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: b",
    "X-Forwarded-Port: 1",
    "Forwarded: for=6.6.6.6",
    "X_Forwarded_For: 7.7.7.7",
)


def test_a_stranger_is_not_believed() -> None:
    forward = block(*FORWARDED).forward
    assert b"6.6.6.6" not in forward and b"7.7.7.7" not in forward and b"X-Forwarded-Port" not in forward
    assert b"X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n" in forward


def test_a_trusted_proxy_is_believed() -> None:
    forward = block(*FORWARDED, trusted=True).forward
    assert (
        b"X-Forwarded-For: 6.6.6.6, 10.0.0.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n"
        in forward
    )
    assert b"Forwarded: for=6.6.6.6\r\n" in forward and b"X-Forwarded-Port: 1" in forward
    assert b"7.7.7.7" not in forward


@pytest.mark.parametrize(
    ("said", "kept"), [("abc-123", b"abc-123"), ("a b", b""), ("x" * 129, b""), ("", b""), ("a\tb", b"")]
)
def test_only_a_sane_request_id_is_kept(said: str, kept: bytes) -> None:
    assert block("Host: a", f"X-Request-Id: {said}").request_id == kept


@pytest.mark.parametrize(
    ("host", "name"),
    [("App.Localhost:47000", b"app.localhost"), ("a.", b"a"), ("[::1]:80", b"[::1]"), ("a:", b"a")],
)
def test_hosts_are_compared_without_case_port_and_dot(host: str, name: bytes) -> None:
    assert block(f"Host: {host}").host == name


@pytest.mark.parametrize(
    ("method", "target", "read"),
    [
        (b"GET", b"/a?b", b"/a?b"),
        (b"OPTIONS", b"*", b"*"),
        (b"GET", b"http://A:1/x?y", b"/x?y"),
        (b"GET", b"http://a:1", b"/"),
        (b"GET", b"http://a:1?x", b"/?x"),
        (b"M-SEARCH", b"/", b"/"),
    ],
)
def test_targets_in_their_forms(method: bytes, target: bytes, read: bytes) -> None:
    assert read_target(method, target, block("Host: a:1")) == read


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b"http://b/"),
        (b"GET", b"http://u@a:1/"),
        (b"GET", b"x"),
        (b"GET", b"*"),
        (b"CONNECT", b"a:1"),
        (b"GET", b"/\x01"),
        (b"GET", b"/\x7f"),
        (b"G(T", b"/"),
        (b"", b"/"),
        (b"GET", b""),
    ],
)
def test_targets_that_lead_nowhere(method: bytes, target: bytes) -> None:
    with pytest.raises(Fault):
        read_target(method, target, block("Host: a:1"))


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\nHost: a", b"GET /\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/2.0\r\nX"]
)
def test_what_can_never_become_a_head_is_refused_at_once(head: bytes) -> None:
    with pytest.raises(Fault):
        check_partial(head)


@pytest.mark.parametrize(
    "head", [b"G", b"GET", b"GET / HT", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nHost: a\r\n"]
)
def test_an_unfinished_head_may_wait(head: bytes) -> None:
    check_partial(head)


def test_an_answer_is_rewritten() -> None:
    answer = read_answer(
        b"HTTP/1.0 200 Fine\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
        b"Content-Length: 3\r\nA: b\r\n"
    )
    assert answer.out == b"HTTP/1.1 200 Fine\r\nA: b\r\nContent-Length: 3\r\n"
    assert answer.keep_alive and answer.whole and answer.length == 3


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2.0 200 OK\r\n",
        b"HELLO\r\n",
        b"HTTP/1.1 99 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n",
    ],
)
def test_answers_that_are_no_http(head: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_answer(head)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.data())
def test_a_chunked_body_is_the_same_however_it_is_cut(bodies: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(chunk(body) for body in bodies) + last_chunk(b"X-T: 1\r\n") + b"GET /next"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    reader = ChunkReader()
    out = b""
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        out += reader.feed(wire[start:end]) if not reader.done else b""
        if reader.done:
            assert (out, reader.trailers) == (b"".join(bodies), b"X-T: 1\r\n")
            assert wire[:end].endswith(reader.rest)
            return
    raise AssertionError("never done")


@given(st.binary(max_size=200))
def test_no_bytes_break_the_chunk_reader(data: bytes) -> None:
    reader = ChunkReader()
    try:
        body = reader.feed(data)
    except BadChunk:
        return
    assert len(body) + len(reader.rest) <= len(data)


@pytest.mark.parametrize(
    "wire",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"-1\r\n",
        b"fffffffffffffffff\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"\r\n",
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\n X: 1\r\n\r\n",
        b"5;" + b"x" * 5000,
    ],
)
def test_bad_chunks(wire: bytes) -> None:
    with pytest.raises(BadChunk):
        ChunkReader().feed(wire)


def test_extensions_are_dropped_and_framing_never_comes_as_a_trailer() -> None:
    reader = ChunkReader()
    assert reader.feed(b"5;name=value\r\nhello\r\n0\r\nContent-Length: 9\r\nX-Sum: 1\r\n\r\nrest") == b"hello"
    assert (reader.done, reader.trailers, reader.rest) == (True, b"X-Sum: 1\r\n", b"rest")


def test_many_tiny_chunks_are_read_in_linear_time() -> None:
    assert len(ChunkReader().feed(b"1\r\nx\r\n" * 100_000)) == 100_000
