"""What a client can ask of a server: one method for each thing the API does, and finding objects by their names.

The public face of the package; see its docstring for threads and errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from platformd import ids
from platformd.client import streams, uploads
from platformd.client.errors import BadAnswer, NotNamed, Problem
from platformd.client.objects import App, Artifact, Deployment, LogEntry, Task
from platformd.client.transport import Transport

DEFAULT_NAMESPACE = "default"
_PAGE = 100
_PREFIX = re.compile(r"[0-9a-f-]{1,36}")
_CHUNK = 1000


class Client:
    """A server's API. ValueError for a `server` that is no URL.

    In seconds, `timeout` bounds each wait for an answer, `patience` that for a server to come back while it is followed
    or its logs are read; all other calls fail at once when nobody is there.
    """

    def __init__(
        self, server: str, token: str | None = None, timeout: float = 30.0, patience: float = 30.0
    ) -> None:
        self._patience = patience
        self._transport = Transport(server, token, timeout)
        self.server = self._transport.server

    def version(self) -> str:
        return str(self._get("/version")["version"])

    # ---- apps ----

    def apps(self, namespace: str | None = None) -> Iterator[App]:
        """Every app, by name."""
        yield from self._pages("/apps", namespace=namespace, sort_by="name", sort_order="asc")

    def create_app(self, name: str, namespace: str = DEFAULT_NAMESPACE, **fields: Any) -> App:
        """`fields`: description, labels."""
        app: App = self._post("/apps", {"name": name, "namespace": namespace, **fields})
        return app

    def app(self, name: str) -> App:
        """The app called `name` (in the namespace default), `namespace/name`, or with that id."""
        app: App = self._get(f"/apps/{name}" if ids.is_id(name) else f"/apps/{'/'.join(self.key_of(name))}")
        return app

    @staticmethod
    def key_of(name: str) -> tuple[str, str]:
        """Namespace and name of an app's name as people write it."""
        namespace, slash, short = name.rpartition("/")
        if not short or (slash and not namespace) or "/" in namespace:
            raise NotNamed(f"{name!r} is no app; name it by its name, namespace/name, or id")
        return (namespace if slash else DEFAULT_NAMESPACE, short)

    def delete_app(self, id: str) -> bool:
        """False when its removal goes on."""
        with self._transport.exchange("DELETE", f"/apps/{id}") as response:
            response.read()
            return bool(response.status == 204)

    def variables(self, app_id: str, environment: str | None = None) -> dict[str, Any]:
        """By name: a value, or {"secret": true, "value": "***"}."""
        found: dict[str, Any] = self._get(_variables_of(app_id, environment))
        return found

    def change_variables(
        self, app_id: str, change: Mapping[str, Any], environment: str | None = None
    ) -> dict[str, Any]:
        """`change` by name: a value, {"value", "secret"}, or None to remove it."""
        answer: dict[str, Any] = self._transport.json(
            "PATCH", _variables_of(app_id, environment), body=change
        )
        return answer

    def domains(self, app_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get(f"/apps/{app_id}/custom-domains")["custom_domains"]
        return found

    def add_domain(self, app_id: str, domain: str, environment: str) -> dict[str, Any]:
        body = {"domain": domain, "environment": environment}
        added: dict[str, Any] = self._post(f"/apps/{app_id}/custom-domains", body)
        return added

    def remove_domain(self, app_id: str, domain_id: str) -> None:
        with self._transport.exchange("DELETE", f"/apps/{app_id}/custom-domains/{domain_id}") as response:
            response.read()

    # ---- artifacts ----

    def upload(
        self, path: Path, name: str | None = None, progress: uploads.Progress | None = None
    ) -> Artifact:
        """A new artifact with the bytes of a file, streamed from disk; `progress(sent, total)` in bytes."""
        with uploads.OutgoingFile(path, progress or uploads.unwatched) as file:
            made = self._post("/artifacts", {"name": name or path.name})
            target = f"/artifacts/{made['id']}/upload"
            with self._transport.exchange("POST", target, body=file, headers=file.headers) as response:
                response.read()
        return self.artifact(made["id"])

    def artifact(self, id: str) -> Artifact:
        artifact: Artifact = self._get(f"/artifacts/{id}")
        return artifact

    # ---- deployments ----

    def deploy(self, app_id: str, spec: Mapping[str, Any]) -> Deployment:
        """A new deployment; `spec` is the API's body."""
        deployment: Deployment = self._post(f"/apps/{app_id}/deployments", spec)
        return deployment

    def deployments(self, app_id: str | None = None) -> Iterator[Deployment]:
        """Every deployment, newest first."""
        yield from self._pages("/deployments", app_id=app_id, sort_by="created_at", sort_order="desc")

    def newest(self, app_id: str, count: int = 10) -> list[Deployment]:
        """An app's newest versions."""
        found: list[Deployment] = self._get(f"/apps/{app_id}/deployments", page_size=count)["deployments"]
        return found

    def deployment(self, name: str) -> Deployment:
        """The deployment with an id, the only one whose id begins so, or `app@version`."""
        if ids.is_id(name):
            found: Deployment = self._get(f"/deployments/{name}")
            return found
        app_name, at, version = name.rpartition("@")
        return self._by_version(app_name, version) if at else self._by_prefix(name)

    def scale(self, id: str, replicas: int) -> Deployment:
        changed: Deployment = self._transport.json(
            "PATCH", f"/deployments/{id}", body={"spec": {"replicas": replicas}}
        )
        return changed

    def wake(self, id: str) -> Deployment:
        return self._order(id, "wake")

    def sleep(self, id: str) -> Deployment:
        return self._order(id, "sleep")

    def keep_awake(self, id: str, for_secs: float) -> Deployment:
        """Awake for so many seconds at least; 0 ends what was promised before."""
        changed: Deployment = self._post(f"/deployments/{id}/keep-awake", {"for_secs": for_secs})
        return changed

    def cancel(self, id: str) -> Deployment:
        return self._order(id, "cancel")

    def promote(self, id: str, environment: str = "production") -> Deployment:
        """The new deployment of the same artifact or image."""
        made = self._post(f"/deployments/{id}/promote", {"strategy": "instant", "environment": environment})
        return self.deployment(made["deployment_id"])

    def rollback(self, app: str, environment: str = "production") -> Deployment:
        """The new deployment of the version before; webhooks there wait until `release`. `app` as in `app`."""
        made = self._post(f"/apps/{self.app(app)['id']}/rollback", {"environment": environment})
        return self.deployment(made["deployment_id"])

    def release(self, app: str, environment: str = "production") -> bool:
        """Let webhooks deploy there again; whether they had to wait."""
        path = f"/apps/{self.app(app)['id']}/environments/{environment}/release"
        return bool(self._post(path)["released"])

    def restart(self, id: str) -> Deployment:
        """Each task is replaced, one at a time."""
        return self._order(id, "restart")

    def tasks(self, deployment_id: str) -> Iterator[Task]:
        """Every task there is or was, newest first."""
        yield from self._pages(f"/deployments/{deployment_id}/tasks", sort_by="created_at", sort_order="desc")

    def changes(self, deployment_id: str) -> Iterator[Deployment]:
        """The deployment now and after each change, across restarts of the server; endless."""
        return streams.changes(self._transport, deployment_id, self._patience)

    # ---- logs ----

    def logs(
        self,
        deployment_id: str,
        *,
        tail: int | None = None,
        since: str | None = None,
        task_id: str | None = None,
    ) -> Iterator[LogEntry]:
        """Stored entries, oldest first: the last `tail` (at most 1000), else all `since` an instant or a duration.

        Also over a restart of the server.
        """
        query: dict[str, Any] = {"since": since, "task_id": task_id}

        def read(**more: Any) -> Any:
            path = f"/deployments/{deployment_id}/logs"
            return streams.patiently(self._patience, lambda: self._get(path, **query, **more))

        if tail is not None:
            yield from read(tail=tail)
            return
        after = 0
        while chunk := read(after=after, limit=_CHUNK):
            yield from chunk
            after = chunk[-1]["id"]

    def follow(
        self,
        deployment_id: str,
        *,
        tail: int = 100,
        after: int | None = None,
        task_id: str | None = None,
        on_gap: Callable[[str], None] | None = None,
    ) -> Iterator[LogEntry]:
        """Entries as they come, across restarts of the server, until the deployment is finished.

        `on_gap` is told, in a sentence, when entries between are no longer kept.
        """
        heard = on_gap or (lambda _text: None)
        return streams.entries(
            self._transport,
            deployment_id,
            task_id=task_id,
            tail=tail,
            after=after,
            patience_secs=self._patience,
            on_gap=heard,
        )

    # ---- how ----

    def _get(self, path: str, **query: Any) -> Any:
        return self._transport.json("GET", path, query=query)

    def _post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._transport.json("POST", path, body=body)

    def _order(self, id: str, action: str) -> Deployment:
        changed: Deployment = self._post(f"/deployments/{id}/{action}")
        return changed

    def _pages(self, path: str, **query: Any) -> Iterator[Any]:
        page = 1
        while True:
            answer = self._get(path, page=page, page_size=_PAGE, **query)
            if not isinstance(answer, dict) or "data" not in answer:
                raise BadAnswer(f"{self.server} answered something else than a list; is it a platformd?")
            yield from answer["data"]
            if page * _PAGE >= answer["total"]:
                return
            page += 1

    def _by_version(self, app_name: str, text: str) -> Deployment:
        if not text.isdecimal() or not 1 <= int(text) < 1 << 53:
            raise NotNamed(f"{text!r} is no version; write app@3, or the deployment's id")
        version, app = int(text), self.app(app_name)
        page = self._get(f"/apps/{app['id']}/deployments", page_size=1, page_token=version + 1)
        for found in page["deployments"]:
            if found["version"] == version:
                deployment: Deployment = found
                return deployment
        raise NotNamed(f"app {app_name} has no version {version}")

    def _by_prefix(self, text: str) -> Deployment:
        prefix = text.lower()
        if not _PREFIX.fullmatch(prefix):
            raise NotNamed(
                f"{text!r} is no deployment; name it by its id, the id's beginning, or app@version"
            )
        found = [each for each in self.deployments() if each["id"].startswith(prefix)]
        if not found:
            raise NotNamed(f"there is no deployment whose id begins with {text!r}")
        if len(found) > 1:
            some = ", ".join(each["id"] for each in found[:5])
            raise NotNamed(f"{len(found)} deployments begin with {text!r}: {some}; write more of the id")
        return found[0]


def _variables_of(app_id: str, environment: str | None) -> str:
    return f"/apps/{app_id}/env" if environment is None else f"/apps/{app_id}/environments/{environment}/env"


def is_missing_app(error: Problem) -> bool:
    """True when a call failed because there is no such app."""
    return error.status == 404 and error.code == "APP_NOT_FOUND"
