"""Whether the engine is there, and what it says of our containers as it happens.

Two tasks in the streams' thread, for the driver's life. Events only make the driver look sooner: what it finds when it
looks is the truth, so a lost or doubled one is harmless.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from platformd.drivers.docker.containers import INSTANCE, TASK
from platformd.drivers.docker.engine import Engine, EngineAway, EngineError
from platformd.drivers.docker.streams import Streams

LOOK_SECS = 1.0
ANSWER_SECS = 5.0
_HAPPENINGS = ["die", "oom", "destroy"]


class Watcher:
    """`on_event` gets (task id, what happened), `on_listening` is called when events begin to be heard."""

    def __init__(
        self,
        engine: Engine,
        streams: Streams,
        instance: str,
        on_event: Callable[[str, str], None],
        on_listening: Callable[[], None],
    ) -> None:
        self._engine, self._streams, self._instance = engine, streams, instance
        self._on_event, self._on_listening = on_event, on_listening
        self._tasks: list[Future[Any] | None] = []

    def start(self) -> None:
        self._tasks = [self._streams.run(self._look()), self._streams.run(self._listen())]

    async def _look(self) -> None:
        while True:
            if self._engine.away or not self._engine.met:
                await self._ask()
            await asyncio.sleep(LOOK_SECS)

    async def _ask(self) -> None:
        try:
            async with self._streams.open("GET", "/_ping", {}, silence=ANSWER_SECS) as body:
                _ = [piece async for piece in body]
        except EngineError as error:
            self._engine.lost(f"it answers with status {error.status}")
        except EngineAway as error:
            self._engine.lost(str(error))
        else:
            self._engine.found()

    async def _listen(self) -> None:
        filters = {"type": ["container"], "label": [f"{INSTANCE}={self._instance}"], "event": _HAPPENINGS}
        while True:
            if not self._engine.away:
                try:
                    async with self._streams.open("GET", "/events", {"filters": json.dumps(filters)}) as body:
                        self._on_listening()
                        await self._hear(body)
                    self._engine.lost("its event stream ended")
                except EngineAway as error:
                    self._engine.lost(f"its event stream broke: {error}")
                except EngineError:
                    pass
            await asyncio.sleep(0.2)

    async def _hear(self, body: Any) -> None:
        rest = b""
        async for piece in body:
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > 1 << 20:
                raise EngineAway("an event without end")
            for line in lines:
                self._told(line)

    def _told(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            task_id = event["Actor"]["Attributes"][TASK]
            what = str(event["Action"])
        except (ValueError, KeyError, TypeError):
            return
        self._on_event(task_id, what)
