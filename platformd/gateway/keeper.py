"""The gateway's connection to the keeper, over which it fires armed wakes; there or not, nothing depends on it.

Used by `arms`. Packets as in `platformd.keeper.wire`. Gateway loop thread only.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platformd.keeper import wire

Message = dict[str, Any]
PACKETS_A_TURN = 64


class Keeper:
    """Connected while it can be; `heard` takes each message."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, run_dir: Path, heard: Callable[[Message], None]
    ) -> None:
        self._loop, self._run_dir, self._heard = loop, run_dir, heard
        self._sock: socket.socket | None = None

    @property
    def connected(self) -> bool:
        return self._sock is not None

    def stay_connected(self) -> None:
        """Connect if it is not: at once or not at all."""
        if self._sock is not None:
            return
        try:
            sock = wire.connect(self._run_dir)
        except OSError:
            return
        sock.setblocking(False)
        self._sock = sock
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, message: Message) -> bool:
        """False when it cannot be told now."""
        if self._sock is None:
            return False
        try:
            wire.send(self._sock, message)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            return False
        return True

    def close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def _readable(self) -> None:
        for _ in range(PACKETS_A_TURN):
            if self._sock is None:
                return
            try:
                got = wire.receive(self._sock)
            except BlockingIOError:
                return
            except (OSError, wire.WireError):
                got = None
            if got is None:
                self.close()
                return
            self._heard(got[0])
