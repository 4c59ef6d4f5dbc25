"""What asyncio does not offer for its sockets. Called by `server`, `core` and `control`; any thread."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ESTABLISHED = 1
_NO_LINGER = struct.pack("ii", 1, 0)


def has_left(transport: asyncio.Transport) -> bool:
    """True when the peer has closed or reset, even while nothing is read: the kernel's TCP state says so."""
    sock = transport.get_extra_info("socket")
    if transport.is_closing() or sock is None:
        return True
    try:
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED)
    except OSError:
        return True


def reset(transport: asyncio.Transport) -> None:
    """End the connection so that the peer cannot take it for a clean end."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a unix socket that fits its 108 bytes however deep its folder lies; valid within the block."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def keep_alive(listener: socket.socket) -> None:
    """Connections accepted from `listener` notice a peer that vanished without a word within two minutes."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)
