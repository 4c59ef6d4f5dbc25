"""Serve's end of the socket to the gateway.

`app` makes it; actors send through it from any thread; what the gateway reports comes to `on_event` on the loop's
thread. Normally there is one gateway. While one replaces another, the old finishes its requests: both then get every
order, and a Close is answered only when both have let go of the task. A Close that no gateway answered, because it
died or is not there yet, is put to the next.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec

from platformd.gateway import protocol
from platformd.observability import get_logger

Event = dict[str, Any]

_log = get_logger("gateway link")
_CREDENTIALS = struct.Struct("iii")
_Key = tuple[str, str, tuple[str, ...]]


@dataclass(slots=True)
class _Closing:
    """A Close that is not answered yet: which gateways were asked, which have let go."""

    order: protocol.Close
    asked: set[_Peer] = field(default_factory=set)
    closed: set[_Peer] = field(default_factory=set)


class GatewayLink:
    """Listens on `path` for gateways; without one, orders are dropped: its hello asks for everything anew."""

    def __init__(
        self, path: Path, loop: asyncio.AbstractEventLoop, on_event: Callable[[Event], None]
    ) -> None:
        self._path = path
        self._loop = loop
        self._on_event = on_event
        self._thread: int | None = None
        self._server: asyncio.AbstractServer | None = None
        self._listener: socket.socket | None = None
        self._peers: list[_Peer] = []
        self._closing: dict[_Key, _Closing] = {}

    @property
    def connected(self) -> bool:
        """True while a gateway that said hello is there."""
        return any(peer.greeted for peer in self._peers)

    async def start(self) -> None:
        """Listen; a socket left by a dead serve is replaced."""
        self._thread = threading.get_ident()
        self._listener = _listen(self._path)
        self._server = await self._loop.create_unix_server(lambda: _Peer(self), sock=self._listener)

    async def close(self) -> None:
        """Stop listening and drop the gateway; it goes on with what it knows."""
        if self._server is not None:
            self._server.close()
        for peer in [*self._peers]:
            peer.transport.close()
        self._path.unlink(missing_ok=True)

    def send(self, message: protocol.Message | Event) -> None:
        """One order, at once on the loop's thread and through the loop from any other."""
        if threading.get_ident() == self._thread:
            self._send(message)
        else:
            self._loop.call_soon_threadsafe(self._send, message)

    def _send(self, message: protocol.Message | Event) -> None:
        if isinstance(message, protocol.Close):
            key = _key(message.deployment, message.mode, message.tasks)
            self._closing[key] = _Closing(message)
            self._ask_to_close(key)
            return
        line = protocol.encode(message)
        for peer in self._peers:
            if peer.greeted:
                peer.transport.write(line)

    def _ask_to_close(self, key: _Key) -> None:
        """Put the order to every gateway that was not asked; done when all there are have let go.

        Oldest first, and an idle stop to one after the other: one that refuses must not leave another closed.
        """
        closing = self._closing[key]
        peers = [peer for peer in self._peers if peer.greeted]
        for peer in peers:
            if peer in closing.closed:
                continue
            if peer not in closing.asked:
                closing.asked.add(peer)
                peer.transport.write(protocol.encode(closing.order))
            if closing.order.mode == "idle":
                return
        if peers and closing.closed.issuperset(peers):
            del self._closing[key]
            deployment, mode, tasks = key
            self._on_event({"op": "closed", "deployment": deployment, "mode": mode, "tasks": list(tasks)})

    # Called by peers

    def joined(self, peer: _Peer) -> None:
        self._peers.append(peer)

    def left(self, peer: _Peer) -> None:
        self._peers.remove(peer)
        self._ask_again()
        if peer.greeted and not self.connected:
            self._on_event({"op": "lost"})

    def heard(self, peer: _Peer, event: Event) -> None:
        """One report."""
        op = event.get("op")
        if op == "hello":
            peer.greeted = True
            # The newest is the gateway; those before it are leaving.
            self._peers.remove(peer)
            self._peers.append(peer)
        if op in ("closed", "busy"):
            self._answered(peer, event)
        else:
            self._on_event(event)
        if op == "hello":
            # After the full table, which the handler of hello has just sent.
            self._ask_again()

    def _answered(self, peer: _Peer, event: Event) -> None:
        key = _key(event["deployment"], event.get("mode", "idle"), event["tasks"])
        closing = self._closing.get(key)
        if closing is None:
            return
        if event["op"] == "closed":
            closing.closed.add(peer)
            self._ask_to_close(key)
        else:
            del self._closing[key]
            self._on_event(event)

    def _ask_again(self) -> None:
        for key in [*self._closing]:
            self._ask_to_close(key)


class _Peer(asyncio.Protocol):
    """One connected gateway."""

    transport: asyncio.Transport

    def __init__(self, link: GatewayLink) -> None:
        self._link = link
        self._lines = protocol.Lines()
        self.greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._link.joined(self)
        user = _user_of(self.transport)
        if user not in (os.getuid(), 0):
            _log.warning("stranger on the gateway's socket turned away", uid=user)
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            try:
                event = protocol.decode_report(line)
            except msgspec.DecodeError as error:
                _log.error("report from the gateway cannot be read", error=str(error))
                continue
            self._link.heard(self, event)

    def connection_lost(self, _: Exception | None) -> None:
        self._link.left(self)


def _key(deployment: str, mode: str, tasks: list[str]) -> _Key:
    return deployment, mode, tuple(sorted(tasks))


def _listen(path: Path) -> socket.socket:
    """A listening unix socket at `path`, bound through its folder: a socket's name is at most 108 bytes."""
    path.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.chmod(path.name, 0o600, dir_fd=folder)
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(folder)
    return listener


def _user_of(transport: asyncio.Transport) -> int:
    raw = transport.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    return int(_CREDENTIALS.unpack(raw)[1])
