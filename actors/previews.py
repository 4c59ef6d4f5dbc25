"""Taking a pull request's preview away once it was closed: its builds and deployments end, then its environment goes.

The intent is the row of the delivery that told of it, so that a restart goes on with what was begun and a pull request
that is opened again meanwhile takes it back. Called by handlers and the composition root on the loop's thread, where
one task per preview waits for what actors do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from actors.bridge import Bridge
from actors.ending import LOOKS_AGAIN_SECS, end_builds, end_deployments
from actors.world import Traffic
from platformd.domain.deliveries import FinishPreview, Received
from platformd.domain.notice import Notice
from platformd.domain.webhook import Outcome
from platformd.errors import PlatformError
from platformd.hub import Hub
from platformd.store import Store
from platformd.store.webhooks import under_way

_OF_PREVIEW = f"""
app_id = ? AND environment = ?
AND EXISTS (SELECT 1 FROM webhook_deliveries WHERE id = ? AND verdict = '{Outcome.REMOVING}')
"""
_log = structlog.get_logger("previews")


class Previews:
    def __init__(self, store: Store, bridge: Bridge, traffic: Traffic, hub: Hub) -> None:
        self._store = store
        self._bridge = bridge
        self._traffic = traffic
        self._hub = hub
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def remove(self, closed: Received) -> None:
        """Begin, or go on; returns at once."""
        if closed.id not in self._under_way:
            task = self._under_way[closed.id] = asyncio.create_task(self._remove(closed))
            task.add_done_callback(lambda _: self._under_way.pop(closed.id, None))

    def resume(self) -> None:
        """Go on with what an earlier process began."""
        for closed in under_way(self._store.reader):
            self.remove(closed)

    async def close(self) -> None:
        """The next start goes on."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _remove(self, closed: Received) -> None:
        while True:
            try:
                await self._end_what_is_there(closed)
                await self._finish(closed)
                return
            except (
                PlatformError
            ) as error:  # a full disk, or something new was made here meanwhile: later again
                _log.warning("a preview cannot be removed yet", app_id=closed.app_id, detail=error.message)
                await asyncio.sleep(LOOKS_AGAIN_SECS)

    async def _end_what_is_there(self, closed: Received) -> None:
        """Builds first: what they have made by then is among the deployments."""
        values = (closed.app_id, closed.environment, closed.id)
        await end_builds(self._store, self._bridge, self._hub, _OF_PREVIEW, *values)
        await end_deployments(self._store, self._bridge, self._hub, _OF_PREVIEW, *values)

    async def _finish(self, closed: Received) -> None:
        finish = FinishPreview(delivery_id=closed.id)
        gone = await asyncio.wrap_future(self._store.commit(finish, lambda gone: _notices(closed, gone)))
        if gone is not None:
            self._traffic.forget_hosts(gone)
            _log.info("preview removed", app_id=closed.app_id, environment=closed.environment)


def _notices(closed: Received, gone: Iterable[str] | None) -> tuple[Notice, ...]:
    if gone is None:
        return ()
    data = {"delivery_id": closed.id, "environment": closed.environment}
    return (Notice(kind="webhook", type="webhook.preview_removed", app_id=closed.app_id, data=data),)
