"""Opens connections to tasks.

A connect to a local address succeeds, is refused, or meets a full listen queue, all before connect() returns; so
nothing waits in the usual case. A full queue (the app listens with a small backlog) blocks the task: requests wait in
our queue, one socket tries again in quick steps instead of the kernel's one second. Gateway loop thread only.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from platformd import clock
from platformd.gateway.upstream import Upstream

if TYPE_CHECKING:
    from platformd.gateway.core import Gateway
    from platformd.gateway.routes import Task
    from platformd.gateway.server import Client

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 1.0
CONNECT_TIMEOUT = 10.0
_UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY)


def dial(gateway: Gateway, task: Task, client: Client) -> bool:
    """Open a connection for `client`; False when the task refuses, and then nothing was done."""
    sock, code = _connect(task)
    if sock is not None and code == 0:
        _adopt(gateway, task, client, sock)
        return True
    if sock is not None and code in _UNDER_WAY:
        client.dialing = Stalled(gateway, task, client, sock)
        return True
    if sock is not None:
        sock.close()
    gateway.log.warning("task refuses connections", task=task.id, error=os.strerror(code))
    gateway.hold.refused(task)
    return False


def _connect(task: Task) -> tuple[socket.socket | None, int]:
    family = socket.AF_INET6 if ":" in task.address[0] else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        return None, error.errno or errno.EMFILE
    code = sock.connect_ex(task.address)
    if code == errno.EINPROGRESS:
        # Over loopback the handshake is already done; asking again says how it went.
        code = sock.connect_ex(task.address)
    return sock, 0 if code == errno.EISCONN else code


def _adopt(gateway: Gateway, task: Task, client: Client | None, sock: socket.socket) -> None:
    task.deployment.refused_since = 0.0
    upstream = Upstream(gateway, task, client)
    if client is not None:
        client.dialing = None
        client.upstream = upstream
    gateway.spawn(_attach(gateway, upstream, sock))


async def _attach(gateway: Gateway, upstream: Upstream, sock: socket.socket) -> None:
    try:
        await gateway.loop.create_connection(lambda: upstream, sock=sock)
    except OSError as error:
        sock.close()
        gateway.log.warning("connection to task failed", task=upstream.task.id, error=str(error))
        client, upstream.client = upstream.client, None
        if client is not None:
            client.unreached()


class Stalled:
    """A handshake that did not complete at once. `client` becomes None when it leaves."""

    def __init__(self, gateway: Gateway, task: Task, client: Client, sock: socket.socket) -> None:
        self.client: Client | None = client
        self._gateway = gateway
        self._task = task
        self._began = clock.monotonic()
        self._pause = FIRST_PAUSE
        gateway.hold.block(task)
        self._watch(sock)

    def _watch(self, sock: socket.socket) -> None:
        self._sock = sock
        self._gateway.loop.add_writer(sock.fileno(), self._ready)
        self._timer = self._gateway.loop.call_later(self._pause, self._again)

    def _ready(self) -> None:
        self._timer.cancel()
        self._gateway.loop.remove_writer(self._sock.fileno())
        if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._fail()
        else:
            self._succeed()

    def _again(self) -> None:
        self._gateway.loop.remove_writer(self._sock.fileno())
        self._sock.close()
        if not self._task.open or clock.monotonic() - self._began > CONNECT_TIMEOUT:
            self._fail()
            return
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        sock, code = _connect(self._task)
        if sock is None:
            self._fail()
        elif code in _UNDER_WAY:
            self._watch(sock)
        else:
            self._sock = sock
            if code == 0:
                self._succeed()
            else:
                self._fail()

    def _succeed(self) -> None:
        _adopt(self._gateway, self._task, self.client, self._sock)
        self._gateway.hold.unblock(self._task)

    def _fail(self) -> None:
        self._sock.close()
        if self._task.open:
            self._gateway.hold.refused(self._task)
        client, self.client = self.client, None
        if client is not None:
            client.unreached()
