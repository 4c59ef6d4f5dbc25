"""The network of blocking calls, and how a method that is written with `async` becomes one of them.

Nothing that `Sockets` does ever suspends, so a coroutine over it runs from its start to its end in one step: no loop,
no thread. Any thread may call; iterators belong to the thread that runs them.
"""

from __future__ import annotations

import functools
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from platformd.client.network import BLOCK, Place

P = ParamSpec("P")
T = TypeVar("T")
Calls = TypeVar("Calls", covariant=True)


class Sockets:
    """A `Network`."""

    async def connect(self, place: Place, within: float) -> _SocketWire:
        plain = socket.create_connection((place.host, place.port), within)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not place.tls:
                return _SocketWire(plain)
            context = ssl.create_default_context()
            return _SocketWire(context.wrap_socket(plain, server_hostname=place.host))
        except BaseException:
            plain.close()
            raise

    async def pause(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        return work(*given)


class _SocketWire:
    """A `Wire`."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    async def send(self, data: bytes) -> None:
        self._peer.sendall(data)

    async def receive(self) -> bytes:
        return self._peer.recv(BLOCK)

    def heard(self) -> bool:
        if isinstance(self._peer, ssl.SSLSocket):
            return False  # what can be read may be no data
        return bool(select.select([self._peer], [], [], 0)[0])

    def close(self) -> None:
        self._peer.close()


class Blocking(Protocol[Calls]):
    """Who has blocking methods: `calls` is the object with those that are written with `async`, over `Sockets`."""

    @property
    def calls(self) -> Calls: ...


def call(
    method: Callable[Concatenate[Calls, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking[Calls], P], T]:
    """`method`, waited for."""

    @functools.wraps(method)
    def blocking(self: Blocking[Calls], /, *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = _result(method(self.calls, *args, **kwargs))
        return found

    return cast("Callable[Concatenate[Blocking[Calls], P], T]", blocking)


def iterate(
    method: Callable[Concatenate[Calls, P], AsyncIterator[T]],
) -> Callable[Concatenate[Blocking[Calls], P], Iterator[T]]:
    """`method`, gone through with a plain `for`."""

    @functools.wraps(method)
    def blocking(self: Blocking[Calls], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        found: Any = method(self.calls, *args, **kwargs)  # an async generator
        try:
            while True:
                try:
                    yield _result(found.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            _result(found.aclose())

    return cast("Callable[Concatenate[Blocking[Calls], P], Iterator[T]]", blocking)


def _result(running: Any) -> Any:
    """Of a coroutine that never suspends."""
    try:
        running.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a blocking call was suspended")
