"""The two listening sockets: taken back from the keeper, handed in by a service manager, or bound anew.

Called by `platformd.app` at start, on the loop's thread. A socket that the keeper held is the same one callers are
queueing at, so none of them is refused over a restart.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Protocol

from platformd.errors import Conflict

BACKLOG = 4096
_FIRST_PASSED = 3


class Holder(Protocol):
    """Who keeps duplicates of the sockets: the keeper."""

    async def take(self, name: str) -> socket.socket | None: ...
    async def offer(self, name: str, listener: socket.socket) -> None: ...


def from_service_manager() -> dict[str, socket.socket]:
    """Sockets passed by LISTEN_FDS and named by LISTEN_FDNAMES ("api", "gateway"); none when not addressed to us."""
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return {}
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    names = os.environ.pop("LISTEN_FDNAMES", "api:gateway").split(":")
    passed = {name: socket.socket(fileno=_FIRST_PASSED + index) for index, name in enumerate(names[:count])}
    for listener in passed.values():
        listener.set_inheritable(False)
        listener.setblocking(False)
    return passed


def suits(listener: socket.socket, host: str, port: int) -> bool:
    """True when `listener` is where the settings want it; port 0 is content with any."""
    bound_host, bound_port = listener.getsockname()[:2]
    return bound_host == host and port in (0, bound_port)


def bind(host: str, port: int) -> socket.socket:
    """A new listening socket; Conflict names the address that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Conflict(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port or --gateway-port",
            code="ADDRESS_IN_USE",
        ) from None
    listener.setblocking(False)
    return listener


def url(listener: socket.socket) -> str:
    """The address of `listener` as people write it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def obtain(
    keeper: Holder, name: str, host: str, port: int, passed: Mapping[str, socket.socket]
) -> socket.socket:
    """Passed in, else held by the keeper, else new; the keeper holds a duplicate of it from now on."""
    held = passed.get(name) or await keeper.take(name)
    if held is not None and (name in passed or suits(held, host, port)):
        listener = held
    else:
        if held is not None:
            held.close()
        listener = bind(host, port)
    await keeper.offer(name, listener)
    return listener
