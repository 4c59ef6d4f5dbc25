"""Taking an app away: its builds and deployments are cancelled, the latter drained, then its output and its rows go.

The intent is a row, so that a restart goes on with what was begun. Called by handlers and the composition root on the
loop's thread, where one task per app waits for what actors and the disk do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from actors.bridge import Bridge
from actors.ending import LOOKS_AGAIN_SECS, end_builds, end_deployments
from actors.world import Traffic
from platformd.domain.configuration import BeginRemoval, FinishRemoval
from platformd.domain.task import Task
from platformd.errors import PlatformError
from platformd.hub import Hub
from platformd.store import Store

PATIENCE_SECS = 5.0
_OF_APP = "app_id = ?"
_LIVE = "WHERE app_id = ? AND live = 1"
_log = structlog.get_logger("removal")


class Removals:
    """`drop_logs` removes the output of a deployment or build, `drop_folders` what is kept for an app's builds; both
    block."""

    def __init__(
        self,
        store: Store,
        bridge: Bridge,
        traffic: Traffic,
        hub: Hub,
        drop_logs: Callable[[str], None],
        drop_folders: Callable[[str], None],
    ) -> None:
        self._store = store
        self._bridge = bridge
        self._traffic = traffic
        self._hub = hub
        self._drop_logs = drop_logs
        self._drop_folders = drop_folders
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def remove(self, app_id: str, at: datetime, revision: int | None) -> bool:
        """True once nothing of the app is left, False when that takes longer than `PATIENCE_SECS` and goes on."""
        begin = BeginRemoval(app_id=app_id, at=at, revision=revision)
        await asyncio.wrap_future(self._store.commit(begin))
        done, _ = await asyncio.wait({self._go_on(app_id)}, timeout=PATIENCE_SECS)
        for finished in done:
            finished.result()
        return bool(done)

    def resume(self) -> None:
        """Go on with what an earlier process began."""
        for (app_id,) in self._store.reader.rows("SELECT app_id FROM removals"):
            self._go_on(app_id)

    async def close(self) -> None:
        """The next start goes on."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _go_on(self, app_id: str) -> asyncio.Task[None]:
        task = self._under_way.get(app_id)
        if task is None:
            task = self._under_way[app_id] = asyncio.create_task(self._remove(app_id))
            task.add_done_callback(lambda _: self._under_way.pop(app_id, None))
        return task

    async def _remove(self, app_id: str) -> None:
        while True:
            try:
                await self._end_what_is_there(app_id)
                await self._drop(app_id)
                return
            except PlatformError as error:  # a full disk, an actor that does not answer: later again
                _log.warning("an app cannot be removed yet", app_id=app_id, detail=error.message)
                await asyncio.sleep(LOOKS_AGAIN_SECS)

    async def _end_what_is_there(self, app_id: str) -> None:
        """Builds first: what they have made by then is among the deployments."""
        store, bridge, hub = self._store, self._bridge, self._hub
        await end_builds(store, bridge, hub, _OF_APP, app_id)
        await end_deployments(store, bridge, hub, _OF_APP, app_id)
        while live := next(store.reader.all(Task, _LIVE, app_id), None):  # their rows follow by milliseconds
            await hub.wait_revision("task", live.id, live.revision, LOOKS_AGAIN_SECS)

    async def _drop(self, app_id: str) -> None:
        """Output first: what is left of it without its rows would never be found again."""
        rows = self._store.reader.rows
        ids = [id for (id,) in rows("SELECT id FROM deployments WHERE app_id = ?", app_id)]
        builds = [id for (id,) in rows("SELECT id FROM builds WHERE app_id = ?", app_id)]
        loop = asyncio.get_running_loop()
        for id in (*ids, *builds):
            await loop.run_in_executor(None, self._drop_logs, id)
        await loop.run_in_executor(None, self._drop_folders, app_id)
        hostnames = await asyncio.wrap_future(self._store.commit(FinishRemoval(app_id=app_id)))
        self._traffic.forget_hosts(hostnames)
        self._traffic.forget_deployments(ids)
        _log.info("app removed", app_id=app_id, deployments=len(ids))
