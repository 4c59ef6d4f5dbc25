"""Which task has which port: nothing is handed out that somebody else holds.

Called by the native driver from any thread, on the way of a wake, so without files: a port is tried by binding it.
A port given back rests as long as possible: until the whole range has been gone through.
"""

from __future__ import annotations

import errno
import random
import socket
import threading
from dataclasses import dataclass

_MOST_TRIES = 256
_KIND = socket.SOCK_STREAM | socket.SOCK_CLOEXEC


@dataclass(frozen=True, slots=True)
class Held:
    """The port asked for is not to be had: `task_id` has it, or somebody outside (None)."""

    port: int
    task_id: str | None


class Ports:
    """The ports of one range, and the fixed ones outside it."""

    def __init__(self, usable: range) -> None:
        self._range = usable
        self._next = random.randrange(len(usable))  # so that two servers on one machine rarely meet
        self._holders: dict[int, str] = {}
        self._ports: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def range(self) -> range:
        return self._range

    def take(self, task_id: str) -> int | None:
        """Any free port for this task; the one it has, if it has one. None when no free one was found."""
        with self._lock:
            if task_id in self._ports:
                return self._ports[task_id]
            tries = 0
            for _ in self._range:
                port = self._range[self._next]
                self._next = (self._next + 1) % len(self._range)
                if port in self._holders:
                    continue
                if _nobody_bound(port):
                    self._hand_out(task_id, port)
                    return port
                tries += 1
                if tries == _MOST_TRIES:
                    return None
            return None

    def take_fixed(self, task_id: str, port: int) -> Held | None:
        """That very port for this task; None when it has it now."""
        with self._lock:
            holder = self._holders.get(port)
            if holder is None and not _nobody_listens(port):
                return Held(port, None)
            if holder not in (None, task_id):
                return Held(port, holder)
            self._hand_out(task_id, port)
            return None

    def keep(self, task_id: str, port: int) -> None:
        """The task was found listening there after a restart."""
        with self._lock:
            if port not in self._holders:
                self._hand_out(task_id, port)

    def give_back(self, task_id: str) -> None:
        """The task needs its port no more; harmless when it has none."""
        with self._lock:
            port = self._ports.pop(task_id, None)
            if port is not None:
                del self._holders[port]

    def _hand_out(self, task_id: str, port: int) -> None:
        self._holders[port] = task_id
        self._ports[task_id] = port


def _nobody_bound(port: int) -> bool:
    """True when even a program that sets no SO_REUSEADDR can listen there on any address."""
    try:
        sock = socket.SocketType(socket.AF_INET6, _KIND)
    except OSError:  # a machine without IPv6
        return _bind(socket.SocketType(socket.AF_INET, _KIND), ("0.0.0.0", port)) == 0
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return _bind(sock, ("::", port)) == 0


def _nobody_listens(port: int) -> bool:
    """True unless somebody listens where a task would; remains of closed connections do not count."""
    sock = socket.SocketType(socket.AF_INET, _KIND)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bind(sock, ("127.0.0.1", port)) != errno.EADDRINUSE


def _bind(sock: socket.SocketType, address: tuple[str, int]) -> int:
    """Try it and let go; 0 or what was wrong. Plain sockets: the wrapped ones cost twice as much."""
    try:
        sock.bind(address)
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        sock.close()
    return 0
