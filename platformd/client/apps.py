"""Calls about apps: themselves, their environments, variables and domains; and artifacts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from platformd import ids
from platformd.client import uploads
from platformd.client.calls import Calls
from platformd.client.errors import NotNamed, Problem
from platformd.client.objects import App, Artifact, Domain, Environment

DEFAULT_NAMESPACE = "default"


class AppCalls(Calls):
    """Mixed into the clients."""

    async def apps(self, namespace: str | None = None) -> AsyncIterator[App]:
        """Every app, by name."""
        async for app in self._pages("/apps", namespace=namespace, sort_by="name", sort_order="asc"):
            yield app

    async def create_app(self, /, name: str, namespace: str = DEFAULT_NAMESPACE, **fields: Any) -> App:
        """`fields`: description, labels."""
        app: App = await self._post("/apps", {"name": name, "namespace": namespace, **fields})
        return app

    async def app(self, name: str) -> App:
        """The app called `name` (in the namespace default), `namespace/name`, or with that id."""
        path = f"/apps/{name}" if ids.is_id(name) else f"/apps/{'/'.join(key_of(name))}"
        app: App = await self._get(path)
        return app

    async def update_app(self, /, id: str, **fields: Any) -> App:
        """`fields`: description, labels, default_deployment_spec; what is left out stays."""
        app: App = await self._change("PUT", f"/apps/{id}", fields)
        return app

    async def delete_app(self, id: str) -> bool:
        """False when its removal goes on."""
        async with self._transport.exchange("DELETE", f"/apps/{id}") as response:
            await response.read()
            return response.status == 204

    async def environments(self, app_id: str) -> list[Environment]:
        """Of an app."""
        found: list[Environment] = (await self._get(f"/apps/{app_id}/environments"))["environments"]
        return found

    async def variables(self, app_id: str, environment: str | None = None) -> dict[str, Any]:
        """Of an app, or of one environment of it, by name: a value, or {"secret": true, "value": "***"}."""
        found: dict[str, Any] = await self._get(_variables_of(app_id, environment))
        return found

    async def change_variables(
        self, app_id: str, change: Mapping[str, Any], environment: str | None = None
    ) -> dict[str, Any]:
        """`change` by name: a value, {"value", "secret"}, or None to remove it. Says which deployments run on old
        values."""
        answer: dict[str, Any] = await self._change("PATCH", _variables_of(app_id, environment), change)
        return answer

    async def domains(self, app_id: str) -> list[Domain]:
        """An app's own hostnames."""
        found: list[Domain] = (await self._get(f"/apps/{app_id}/custom-domains"))["custom_domains"]
        return found

    async def add_domain(self, app_id: str, domain: str, environment: str) -> Domain:
        """A hostname that leads to an environment."""
        body = {"domain": domain, "environment": environment}
        added: Domain = await self._post(f"/apps/{app_id}/custom-domains", body)
        return added

    async def remove_domain(self, app_id: str, domain_id: str) -> None:
        """It leads nowhere then."""
        await self._change("DELETE", f"/apps/{app_id}/custom-domains/{domain_id}")

    async def upload(
        self, path: Path, name: str | None = None, progress: uploads.Progress | None = None
    ) -> Artifact:
        """A new artifact with the bytes of a file, streamed from disk; `progress(sent, total)` in bytes, called by
        whichever thread reads the file."""
        run = self._transport.network.run
        with await run(uploads.OutgoingFile, path, progress or uploads.unwatched) as file:
            made = await self._post("/artifacts", {"name": name or path.name})
            async with self._transport.exchange(
                "POST", f"/artifacts/{made['id']}/upload", body=file
            ) as response:
                await response.read()
        return await self.artifact(made["id"])

    async def artifact(self, id: str) -> Artifact:
        """What is known of one; not its bytes."""
        artifact: Artifact = await self._get(f"/artifacts/{id}")
        return artifact


def key_of(name: str) -> tuple[str, str]:
    """Namespace and name of an app's name as people write it; `NotNamed` for what is none."""
    namespace, slash, short = name.rpartition("/")
    if not short or (slash and not namespace) or "/" in namespace:
        raise NotNamed(f"{name!r} is no app; name it by its name, namespace/name, or id")
    return (namespace if slash else DEFAULT_NAMESPACE, short)


def is_missing_app(error: Problem) -> bool:
    """True when a call failed because there is no such app."""
    return error.status == 404 and error.code == "APP_NOT_FOUND"


def _variables_of(app_id: str, environment: str | None) -> str:
    return f"/apps/{app_id}/env" if environment is None else f"/apps/{app_id}/environments/{environment}/env"
