"""Taking an app away: its deployments are cancelled and drained, then its output and its rows go.

The intent is a row, so that a restart goes on with what was begun. Called by handlers and the composition root on the
loop's thread, where one task per app waits for what actors and the disk do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

import structlog

from actors.bridge import Bridge
from actors.messages import Key
from actors.world import Traffic
from platformd.domain import commands
from platformd.domain.build.messages import Cancel
from platformd.domain.configuration import BeginRemoval, FinishRemoval
from platformd.domain.deployment.state import Deployment
from platformd.domain.task import Task
from platformd.errors import InvalidState, PlatformError
from platformd.hub import Hub
from platformd.store import Store, building

PATIENCE_SECS = 5.0
LOOKS_AGAIN_SECS = 1.0
_UNFINISHED = "WHERE app_id = ? AND phase != 'done' ORDER BY version"
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
                await self._end_builds(app_id)
                await self._end_deployments(app_id)
                await self._drop(app_id)
                return
            except PlatformError as error:  # a full disk, an actor that does not answer: later again
                _log.warning("an app cannot be removed yet", app_id=app_id, detail=error.message)
                await asyncio.sleep(LOOKS_AGAIN_SECS)

    async def _end_builds(self, app_id: str) -> None:
        """First: what they make would be deployed."""
        while live := [build for build in building.live_builds(self._store.reader) if build.app_id == app_id]:
            for build in live:
                if not build.state.final:
                    with contextlib.suppress(InvalidState):
                        await self._bridge.ask_async(Key("build", build.id), Cancel())
            await self._hub.wait_revision("build", live[0].id, live[0].revision, LOOKS_AGAIN_SECS)

    async def _end_deployments(self, app_id: str) -> None:
        reader = self._store.reader
        asked: set[str] = set()
        while unfinished := list(reader.all(Deployment, _UNFINISHED, app_id)):
            for deployment in unfinished:
                if deployment.id not in asked and not deployment.status.final:
                    with contextlib.suppress(InvalidState):  # it finished by itself
                        await self._bridge.ask_async(Key("deployment", deployment.id), commands.Cancel())
                asked.add(deployment.id)
            await self._hub.wait_revision(
                "deployment", unfinished[0].id, unfinished[0].revision, LOOKS_AGAIN_SECS
            )
        while live := next(reader.all(Task, _LIVE, app_id), None):  # their rows follow by milliseconds
            await self._hub.wait_revision("task", live.id, live.revision, LOOKS_AGAIN_SECS)

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
