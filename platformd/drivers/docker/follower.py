"""One container's output, followed for as long as it runs and across absences of the engine.

Made by the driver in a worker; works in the streams' thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from platformd.drivers.docker.engine import EngineAway, EngineError
from platformd.drivers.docker.logs import Batch, Unpacker
from platformd.drivers.docker.streams import Streams
from platformd.errors import PlatformError

LAST_OUTPUT_SECS = 2.0
_AGAIN_SECS = 0.5
_KEEPER_AGAIN_SECS = 0.1
_BYTES_PER_SECOND = 16_000_000

Deliver = Callable[[Batch], None]
"""Gives lines to the keeper; raises OSError or a PlatformError while that is away."""


class Follower:
    """`on_end` is called whenever the engine says that there is no more: it may have exited."""

    def __init__(
        self, streams: Streams, container: str, cursor: str, deliver: Deliver, on_end: Callable[[], None]
    ) -> None:
        self._streams, self._container, self._deliver, self._on_end = streams, container, deliver, on_end
        self._unpacker = Unpacker(cursor)
        self._drained = asyncio.Event()
        self._following: Future[Any] | None = streams.run(self._follow())

    @property
    def last_lines(self) -> tuple[str, ...]:
        return tuple(self._unpacker.last_lines)

    def finish(self, then: Callable[[], None]) -> None:
        """The container has exited: call `then` once its last output is stored, or two seconds have passed."""
        self._streams.run(self._finish(then))

    def cancel(self) -> None:
        if self._following is not None:
            self._following.cancel()

    async def _finish(self, then: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(LAST_OUTPUT_SECS):
                await self._drained.wait()
                for batch in self._unpacker.leftover():
                    await self._give(batch)
        except TimeoutError:
            pass
        finally:
            self.cancel()
        then()

    async def _follow(self) -> None:
        while True:
            self._drained.clear()
            try:
                await self._read()
            except EngineError as error:
                if error.missing:
                    self._drained.set()
                    self._on_end()
                    return
            except EngineAway:
                pass
            else:
                self._drained.set()
                self._on_end()
            await asyncio.sleep(_AGAIN_SECS)

    async def _read(self) -> None:
        query = {"follow": "1", "stdout": "1", "stderr": "1", "timestamps": "1"}
        query["since"] = self._unpacker.reopened()
        async with self._streams.open("GET", f"/containers/{self._container}/logs", query) as body:
            async for piece in body:
                for batch in self._unpacker.feed(piece):
                    await self._give(batch)
                if len(piece) > 4096:
                    await asyncio.sleep(len(piece) / _BYTES_PER_SECOND)

    async def _give(self, batch: Batch) -> None:
        while True:
            try:
                self._deliver(batch)
                return
            except (OSError, PlatformError):
                await asyncio.sleep(_KEEPER_AGAIN_SECS)
