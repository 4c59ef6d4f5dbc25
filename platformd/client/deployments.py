"""Calls about deployments: finding, making, ordering and following them; their tasks and output."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from platformd import ids
from platformd.client import streams
from platformd.client.apps import AppCalls
from platformd.client.errors import NotNamed
from platformd.client.objects import Deployment, LogEntry, Task

_PREFIX = re.compile(r"[0-9a-f-]{1,36}")
_CHUNK = 1000


class DeploymentCalls(AppCalls):
    """Mixed into the clients."""

    async def deploy(
        self, app_id: str, spec: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Deployment:
        """A new deployment; `spec` is the API's body. The same key again gives the same deployment."""
        deployment: Deployment = await self._post(f"/apps/{app_id}/deployments", spec, idempotency_key)
        return deployment

    async def deployments(self, app_id: str | None = None) -> AsyncIterator[Deployment]:
        """Every deployment, newest first."""
        async for each in self._pages("/deployments", app_id=app_id, sort_by="created_at", sort_order="desc"):
            yield each

    async def newest(self, app_id: str, count: int = 10) -> list[Deployment]:
        """An app's newest versions."""
        page = await self._get(f"/apps/{app_id}/deployments", page_size=count)
        found: list[Deployment] = page["deployments"]
        return found

    async def deployment(self, name: str) -> Deployment:
        """The deployment with an id, the only one whose id begins so, or `app@version`."""
        if ids.is_id(name):
            found: Deployment = await self._get(f"/deployments/{name}")
            return found
        app_name, at, version = name.rpartition("@")
        return await (self._by_version(app_name, version) if at else self._by_prefix(name))

    async def change(self, /, id: str, **spec: Any) -> Deployment:
        """`spec`: any of replicas, resources, image, process_type, volumes. Takes effect in place, one task at a
        time."""
        changed: Deployment = await self._change("PATCH", f"/deployments/{id}", {"spec": spec})
        return changed

    async def scale(self, id: str, replicas: int) -> Deployment:
        """So many tasks; with 0 it sleeps until somebody calls."""
        return await self.change(id, replicas=replicas)

    async def wake(self, id: str) -> Deployment:
        """As a request would."""
        return await self._order(id, "wake")

    async def sleep(self, id: str) -> Deployment:
        """Its tasks end until the next request."""
        return await self._order(id, "sleep")

    async def keep_awake(self, id: str, for_secs: float) -> Deployment:
        """Awake for so many seconds at least; 0 ends what was promised before."""
        changed: Deployment = await self._post(f"/deployments/{id}/keep-awake", {"for_secs": for_secs})
        return changed

    async def restart(self, id: str) -> Deployment:
        """Each task is replaced, one at a time."""
        return await self._order(id, "restart")

    async def cancel(self, id: str) -> Deployment:
        """Its end, for good."""
        return await self._order(id, "cancel")

    async def promote(
        self, id: str, environment: str = "production", strategy: str = "instant"
    ) -> Deployment:
        """The new deployment of the same artifact or image, or with the strategy "rebuild" of the same commit."""
        body = {"strategy": strategy, "environment": environment}
        made = await self._post(f"/deployments/{id}/promote", body)
        return await self.deployment(made["deployment_id"])

    async def rollback(self, app: str, environment: str = "production") -> Deployment:
        """The new deployment of the version before; webhooks there wait until `release`. `app` as in `app`."""
        id = (await self.app(app))["id"]
        made = await self._post(f"/apps/{id}/rollback", {"environment": environment})
        return await self.deployment(made["deployment_id"])

    async def release(self, app: str, environment: str = "production") -> bool:
        """Let webhooks deploy there again; whether they had to wait."""
        id = (await self.app(app))["id"]
        return bool((await self._post(f"/apps/{id}/environments/{environment}/release"))["released"])

    async def changes(self, deployment_id: str) -> AsyncIterator[Deployment]:
        """The deployment now and after each change, across restarts of the server; endless."""
        async for each in streams.changes(self._transport, f"/deployments/{deployment_id}", self._patience):
            yield each

    # ---- tasks and their output ----

    async def tasks(self, deployment_id: str) -> AsyncIterator[Task]:
        """Every task there is or was, newest first."""
        path = f"/deployments/{deployment_id}/tasks"
        async for task in self._pages(path, sort_by="created_at", sort_order="desc"):
            yield task

    async def stop_task(self, task_id: str) -> Task:
        """It ends in good order; another takes its place where the deployment still wants it."""
        task: Task = await self._post(f"/tasks/{task_id}/stop")
        return task

    async def logs(
        self,
        deployment_id: str,
        *,
        tail: int | None = None,
        since: str | None = None,
        task_id: str | None = None,
    ) -> AsyncIterator[LogEntry]:
        """Stored entries, oldest first: the last `tail` (at most 1000), else all `since` an instant or a duration.

        Also over a restart of the server.
        """

        async def read(**place: Any) -> Any:
            path = f"/deployments/{deployment_id}/logs"
            return await streams.patiently(
                self._transport.network,
                self._patience,
                lambda: self._get(path, since=since, task_id=task_id, **place),
            )

        if tail is not None:
            for entry in await read(tail=tail):
                yield entry
            return
        after = 0
        while chunk := await read(after=after, limit=_CHUNK):
            for entry in chunk:
                yield entry
            after = chunk[-1]["id"]

    async def follow(
        self,
        deployment_id: str,
        *,
        tail: int = 100,
        after: int | None = None,
        task_id: str | None = None,
        on_gap: Callable[[str], None] | None = None,
    ) -> AsyncIterator[LogEntry]:
        """Entries as they come, across restarts of the server, until the deployment is finished.

        After the id `after`, else from the last `tail` on. `on_gap` is told, in a sentence, when entries between are
        no longer kept.
        """
        async for entry in streams.entries(
            self._transport,
            f"/deployments/{deployment_id}/logs/stream",
            query={"task_id": task_id},
            tail=tail,
            after=after,
            patience_secs=self._patience,
            on_gap=on_gap or streams.unheard,
        ):
            yield entry

    # ---- how ----

    async def _order(self, id: str, action: str) -> Deployment:
        changed: Deployment = await self._post(f"/deployments/{id}/{action}")
        return changed

    async def _by_version(self, app_name: str, text: str) -> Deployment:
        if not text.isdecimal() or not 1 <= int(text) < 1 << 53:
            raise NotNamed(f"{text!r} is no version; write app@3, or the deployment's id")
        version, app = int(text), await self.app(app_name)
        page = await self._get(f"/apps/{app['id']}/deployments", page_size=1, page_token=version + 1)
        for found in page["deployments"]:
            if found["version"] == version:
                deployment: Deployment = found
                return deployment
        raise NotNamed(f"app {app_name} has no version {version}")

    async def _by_prefix(self, text: str) -> Deployment:
        prefix = text.lower()
        if not _PREFIX.fullmatch(prefix):
            raise NotNamed(
                f"{text!r} is no deployment; name it by its id, the id's beginning, or app@version"
            )
        found = [each async for each in self.deployments() if each["id"].startswith(prefix)]
        if not found:
            raise NotNamed(f"there is no deployment whose id begins with {text!r}")
        if len(found) > 1:
            some = ", ".join(each["id"] for each in found[:5])
            raise NotNamed(f"{len(found)} deployments begin with {text!r}: {some}; write more of the id")
        return found[0]
