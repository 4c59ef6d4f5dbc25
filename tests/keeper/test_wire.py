"""Packets: small and large, with descriptors, and what is no packet at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from platformd.keeper import wire

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair(no_leaks: None) -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("size", [0, 10, wire.INLINE_BYTES - 30, wire.INLINE_BYTES, 300_000, 20_000_000])
def test_a_message_of_any_size_arrives_whole(pair: Pair, size: int) -> None:
    message = {"op": "x", "text": "ä" * (size // 6), "odd": "\udcff", "n": 2**53 - 1}
    wire.send(pair[0], message)
    assert wire.receive(pair[1]) == (message, [])


@pytest.mark.parametrize("size", [5, 500_000])
def test_descriptors_travel_beside_it_and_are_not_inherited(pair: Pair, size: int) -> None:
    first, second = os.pipe()
    wire.send(pair[0], {"op": "offer", "text": "x" * size}, [first, second])
    got = wire.receive(pair[1])
    assert got is not None
    message, fds = got
    assert len(message["text"]) == size
    os.write(fds[1], b"hello")
    assert os.read(first, 10) == b"hello"
    assert not any(os.get_inheritable(fd) for fd in fds)
    for fd in (first, second, *fds):
        os.close(fd)


@pytest.mark.parametrize(
    "packet",
    [b"{", b"[]", b"7", b"\xff\xfe", b'{"memfd":10}', b'{"memfd":"a"}', b"x" * 70_000, b'{"a":' * 60_000],
)
def test_nonsense_is_an_error_and_leaks_nothing(pair: Pair, packet: bytes) -> None:
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10**6)
    reader, writer = os.pipe()
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10**6)
    wire.send_packet(pair[0], packet, [reader])
    with pytest.raises(wire.WireError):
        wire.receive(pair[1])
    os.close(reader)
    os.close(writer)


def test_a_body_that_is_shorter_than_it_says_is_an_error(pair: Pair) -> None:
    body = os.memfd_create("body")
    os.write(body, b"{}")
    wire.send_packet(pair[0], b'{"memfd":1000}', [body])
    with pytest.raises(wire.WireError, match="2 bytes instead of 1000"):
        wire.receive(pair[1])
    os.close(body)


def test_what_is_too_large_names_its_size(pair: Pair) -> None:
    with pytest.raises(wire.WireError, match="'launch' has 671088"):
        wire.send(pair[0], {"op": "launch", "text": "x" * wire.MAX_BODY_BYTES})


def test_the_end_is_none(pair: Pair) -> None:
    pair[0].close()
    assert wire.receive(pair[1]) is None
