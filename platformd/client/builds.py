"""Calls about sources and builds: where an app's code lies, builds of it, their logs, the trigger."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from platformd.client import streams, uploads
from platformd.client.deployments import DeploymentCalls
from platformd.client.objects import Build, BuildLogEntry, Source


class BuildCalls(DeploymentCalls):
    """Mixed into the clients."""

    async def source(self, app_id: str) -> Source:
        """Secrets are shown as `***`."""
        found: Source = await self._get(f"/apps/{app_id}/source")
        return found

    async def set_source(self, app_id: str, source: Mapping[str, Any]) -> Source:
        """`source` is the API's body; a secret of `***` stays what it is."""
        body = {"type": "github", **source}
        made: Source = await self._change("PUT", f"/apps/{app_id}/source", body)
        return made

    async def build(
        self,
        app_id: str,
        ref: str | None = None,
        environment: str | None = None,
        deployment_id: str | None = None,
    ) -> Build:
        """A new build of a commit, tag or branch, else of the source's branch. It fills in `deployment_id`, else the
        newest deployment of the environment that waits for a build."""
        body = {"app_id": app_id, "ref": ref, "environment": environment, "deployment_id": deployment_id}
        made: Build = await self._post("/builds", {name: value for name, value in body.items() if value})
        return made

    async def build_tree(
        self,
        app_id: str,
        archive: Path,
        environment: str | None = None,
        deployment_id: str | None = None,
        progress: uploads.Progress | None = None,
    ) -> Build:
        """As `build`, of the tree in a tar archive, which is streamed from disk; `progress` as of `upload`."""
        query = {"app_id": app_id, "environment": environment, "deployment_id": deployment_id}
        with await self._transport.network.run(
            uploads.OutgoingFile, archive, progress or uploads.unwatched
        ) as file:
            async with self._transport.exchange("POST", "/builds", query=query, body=file) as response:
                made: Build = json.loads(await response.read())
        return made

    async def builds(self, app_id: str | None = None) -> AsyncIterator[Build]:
        """Every build, newest first."""
        async for each in self._pages("/builds", app_id=app_id, sort_by="created_at", sort_order="desc"):
            yield each

    async def build_of(self, id: str) -> Build:
        """The build with an id."""
        found: Build = await self._get(f"/builds/{id}")
        return found

    async def cancel_build(self, id: str) -> Build:
        """Its end; nothing of it runs once its phase is done."""
        changed: Build = await self._post(f"/builds/{id}/cancel")
        return changed

    async def build_log(self, id: str, tail: int = 1000) -> list[BuildLogEntry]:
        """The last stored entries, oldest first."""
        found: list[BuildLogEntry] = await self._get(f"/builds/{id}/logs", tail=tail)
        return found

    async def follow_build(
        self, id: str, *, after: int | None = 0, on_gap: Callable[[str], None] | None = None
    ) -> AsyncIterator[BuildLogEntry]:
        """Entries as they come, across restarts of the server, until nothing of the build runs any more."""
        async for entry in streams.entries(
            self._transport,
            f"/builds/{id}/logs/stream",
            query={},
            tail=0,
            after=after,
            patience_secs=self._patience,
            on_gap=on_gap or streams.unheard,
        ):
            yield entry
