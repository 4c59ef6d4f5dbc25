"""Who would get a connection to 127.0.0.1:port, and whether that socket belongs to a task.

Used by the prober and by the gateway on their loops' threads (so: microseconds, nothing that waits) and by the driver's
workers. The kernel is asked by sock_diag, 3 µs a question; where it cannot answer, /proc/net/tcp is read after a
connection went through.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HOST = "127.0.0.1"
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
_HEADER = struct.Struct("=IHHII")
_BODY = struct.Struct("=BBBBI")
_SOCKET_ID = struct.Struct("!HH16s16s")
_INTERFACE_AND_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_UID_AND_INODE = struct.Struct("=II")
_TYPE_AT, _STATE_AT, _UID_AT = 4, 17, 80
_LISTEN = 10


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket: its inode, and the user who made it."""

    inode: int
    uid: int


class Listeners(Protocol):
    def at(self, port: int) -> Listener | None:
        """The socket that accepts connections to 127.0.0.1:port now, wildcard listeners included."""

    def close(self) -> None:
        """Release what it holds."""


def open_listeners() -> Listeners:
    """The fast way if it works here, which is tried on a socket of our own."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        sock.listen(1)
        try:
            fast = DiagListeners()
        except OSError:
            return ProcListeners()
        found = fast.at(sock.getsockname()[1])
        if found is not None and found.inode == os.fstat(sock.fileno()).st_ino:
            return fast
        fast.close()
        return ProcListeners()


class DiagListeners:
    """Asks the kernel for the one socket that a connection would reach."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
        )
        self._socket.settimeout(0.1)
        self._lock = threading.Lock()

    def at(self, port: int) -> Listener | None:
        try:
            with self._lock:
                self._socket.send(_question(port))
                answer = self._socket.recv(1024)
        except OSError:
            return None
        kind = int.from_bytes(answer[_TYPE_AT : _TYPE_AT + 2], sys.byteorder)
        if kind != _SOCK_DIAG_BY_FAMILY or answer[_STATE_AT] != _LISTEN:
            return None
        uid, inode = _UID_AND_INODE.unpack_from(answer, _UID_AT)
        return Listener(inode, uid)

    def close(self) -> None:
        self._socket.close()


def _question(port: int) -> bytes:
    address = socket.inet_aton(HOST) + bytes(12)
    identity = _SOCKET_ID.pack(port, 0, address, bytes(16)) + _INTERFACE_AND_COOKIE
    body = _BODY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + identity
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + body


class ProcListeners:
    """Reads the tables of sockets; a connection first, since they may be long."""

    def at(self, port: int) -> Listener | None:
        return _in_tables(port) if connects(port) else None

    def close(self) -> None:
        return


_LOOPBACK = {"0100007F", "7F000001", "0" * 8, "0" * 32, "0000000000000000FFFF00000100007F"}


def _in_tables(port: int) -> Listener | None:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if fields[3] == "0A" and int(number, 16) == port and address in _LOOPBACK:
                return Listener(int(fields[9]), int(fields[7]))
    return None


def connects(port: int, host: str = HOST) -> bool:
    """True when a connection is accepted at once; on loopback and on a bridge of this machine the kernel knows
    without waiting."""
    sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    outcome = sock.connect_ex((host, port))
    if outcome == errno.EINPROGRESS:
        outcome = sock.connect_ex((host, port))
    sock.close()
    return outcome in (0, errno.EISCONN)


def holds(pid: int, inode: int) -> bool | None:
    """Whether `pid` has that socket open; None when it may not be looked at."""
    folder, wanted = f"/proc/{pid}/fd", f"socket:[{inode}]"
    try:
        names = os.listdir(folder)
    except PermissionError:
        return None
    except OSError:
        return False
    return any(_link(f"{folder}/{name}") == wanted for name in names)


def holder(inode: int, pids: Iterable[int]) -> int | None:
    """The first of `pids` that has that socket open."""
    return next((pid for pid in pids if holds(pid, inode)), None)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
