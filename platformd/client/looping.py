"""The network of an asyncio loop. Used by `AsyncClient`; the loop's thread."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, TypeVar, cast

from platformd.client.network import BLOCK, Place

T = TypeVar("T")


class Looping:
    """A `Network`."""

    async def connect(self, place: Place, within: float) -> _LoopWire:
        context = ssl.create_default_context() if place.tls else None
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(within):
            _, peer = await loop.create_connection(
                lambda: _LoopWire(within), place.host, place.port, ssl=context
            )
        return peer

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        return await asyncio.to_thread(work, *given)


class _LoopWire(asyncio.Protocol):
    """A `Wire`. What came before the connection broke can still be received."""

    def __init__(self, within: float) -> None:
        self._within = within
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._ended = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    # ---- as a wire ----

    async def send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise self._error or ConnectionResetError("the connection is closed")
        self._transport.write(data)
        async with asyncio.timeout(self._within):
            await self._room.wait()

    async def receive(self) -> bytes:
        while not self._received:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return b""
            self._news.clear()
            async with asyncio.timeout(self._within):
                await self._news.wait()
        taken = bytes(self._received)
        self._received.clear()
        if self._transport is not None and not self._ended:
            self._transport.resume_reading()
        return taken

    def heard(self) -> bool:
        return bool(self._received) or self._ended

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # ---- as the loop's protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._news.set()
        if len(self._received) > BLOCK and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        self._news.set()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._error = self._error or error
        self._news.set()
        self._room.set()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()
