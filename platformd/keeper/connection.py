"""The keeper's end of its socket: who may talk, who is serve, and what could not be sent yet.

One connection at a time is serve's: the one that said hello last. One thread.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from .timers import Timers

    Message = dict[str, Any]

BATCH = 32
MAX_QUEUED = 100_000
CROWDED_SECONDS = 0.1
_PATH = f"run/{wire.SOCKET_NAME}"


def bind() -> socket.socket:
    """The listening socket; relative to the data directory, since a socket's path is at most 108 bytes long."""
    unlink()
    sock = wire.new_socket()
    sock.bind(_PATH)
    os.chmod(_PATH, 0o600)
    sock.listen(16)
    sock.setblocking(False)
    return sock


def unlink() -> None:
    try:
        os.unlink(_PATH)
    except FileNotFoundError:
        return


def reopen(fd: int) -> socket.socket:
    """The listening socket as the program before left it."""
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


class Connection:
    """One peer; what its socket does not take at once waits in order."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pid = wire.peer(sock)[0]
        self.queue: deque[tuple[bytes, list[int]]] = deque()

    @property
    def alive(self) -> bool:
        return self.sock.fileno() >= 0

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Send or queue; False when the peer has gone or reads nothing any more."""
        packet, _, carrier = wire.pack(message)
        if carrier is not None:
            os.close(carrier)
            raise wire.WireError(f"the answer {message.get('op')!r} is too large for a packet")
        self.queue.append((packet, list(fds)))
        return self.flush()

    def flush(self) -> bool:
        while self.queue:
            try:
                wire.send_packet(self.sock, *self.queue[0])
            except BlockingIOError:
                return len(self.queue) < MAX_QUEUED
            except OSError:
                return False
            self.queue.popleft()
        return True

    def close(self) -> None:
        self.queue.clear()
        self.sock.close()


class Door:
    """Listens, lets in peers of our own user, and passes on what serve says."""

    def __init__(
        self,
        epoll: select.epoll,
        timers: Timers,
        listener: socket.socket,
        on_lost: Callable[[], None],
    ) -> None:
        self.epoll, self.timers, self.listener = epoll, timers, listener
        self.on_lost = on_lost
        self.serve: Connection | None = None
        self.peers: dict[int, Connection] = {}
        epoll.register(listener.fileno(), select.EPOLLIN)

    def admit(self) -> None:
        """Accept whoever knocks, if it is our own user or root."""
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor left: whoever knocks waits, and we do not spin
            self.epoll.modify(self.listener.fileno(), 0)
            self.timers.after(CROWDED_SECONDS, self._listen_again)
            return
        if wire.peer(sock)[1] not in (0, os.geteuid()):
            sock.close()
            return
        sock.setblocking(False)
        wire.widen(sock)
        self.add(Connection(sock))

    def _listen_again(self) -> None:
        self.epoll.modify(self.listener.fileno(), select.EPOLLIN)

    def add(self, peer: Connection) -> None:
        self.peers[peer.sock.fileno()] = peer
        self._watch(peer, register=True)

    def receive(self, fd: int, events: int) -> Iterator[tuple[Connection, Message, list[int]]]:
        """A peer's socket is ready: send what waits, and give what came, message by message."""
        peer = self.peers.get(fd)
        if peer is None:
            return
        if events & select.EPOLLOUT and not peer.flush():
            self.drop(peer)
            return
        if events & ~select.EPOLLOUT:
            yield from self._messages(peer)
        if peer.alive:
            self._watch(peer)

    def _messages(self, peer: Connection) -> Iterator[tuple[Connection, Message, list[int]]]:
        for _ in range(BATCH):
            try:
                got = wire.receive(peer.sock)
            except BlockingIOError:
                return
            except (OSError, wire.WireError):
                got = None
            if got is None:
                self.drop(peer)
                return
            yield peer, *got
            if not peer.alive:
                return

    def welcome(self, peer: Connection) -> None:
        """`peer` is serve from now on; an older one is shown out."""
        older, self.serve = self.serve, peer
        if older is not None and older is not peer:
            self.send(older, {"op": "superseded", "pid": peer.pid})
            self.drop(older)

    def send(self, peer: Connection, message: Message, fds: Sequence[int] = ()) -> None:
        if not peer.alive:
            return
        if not peer.send(message, fds):
            self.drop(peer)
        elif peer.queue:
            self._watch(peer)

    def tell(self, message: Message) -> None:
        """To serve, if there is one; what it misses it learns from the list after its next hello."""
        if self.serve is not None:
            self.send(self.serve, message)

    def drop(self, peer: Connection) -> None:
        fd = peer.sock.fileno()
        if fd < 0:
            return
        self.epoll.unregister(fd)
        del self.peers[fd]
        peer.close()
        if peer is self.serve:
            self.serve = None
            self.on_lost()

    def _watch(self, peer: Connection, register: bool = False) -> None:
        events = select.EPOLLIN | (select.EPOLLOUT if peer.queue else 0)
        (self.epoll.register if register else self.epoll.modify)(peer.sock.fileno(), events)

    def close(self) -> None:
        """Take no one in any more, and leave no name behind."""
        self.epoll.unregister(self.listener.fileno())
        self.listener.close()
        unlink()
