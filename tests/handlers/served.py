"""The API on a loopback port with everything real but the actors, for tests of handlers.

Store, views, hub, artifacts and logs are the service's own, on a temporary directory. Orders go to `ScriptedActors`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tornado.netutil import bind_sockets

from actors.commits import Commits
from actors.configuration import Configuration
from actors.creations import Creations
from actors.dead_letters import DeadLetters
from actors.directory import Directory
from actors.hooks import Hooks
from actors.inspection import Inspection
from actors.runtime import InlineRuntime
from actors.supervisor import Supervisor
from actors.traffic import Load
from actors.usage import UsageHistory
from handlers import Api, Context, make_app, make_server
from platformd import clock, node
from platformd.artifacts import ArtifactFiles, SentTrees
from platformd.build_views import BuildViews
from platformd.config import Settings
from platformd.configuration_views import ConfigurationViews
from platformd.domain.build.state import Build
from platformd.domain.deployment.state import Deployment, Goal, Phase, Status
from platformd.domain.naming import Addresses
from platformd.domain.operations import (
    SaveTask,
)
from platformd.domain.task import Task, TaskPhase
from platformd.hub import Hub
from platformd.ids import new_id
from platformd.logstore import LogStore
from platformd.secrets import Vault
from platformd.store import Store
from platformd.store.expiring import known_uploads
from platformd.store.retries import kept
from platformd.token_views import TokenViews
from platformd.views import Views
from platformd.webhook_views import WebhookViews
from tests.handlers.client import Client
from tests.handlers.standins import (
    Deaf,
    Ending,
    Lines,
    Measured,
    Nobody,
    Patient,
    ScriptedActors,
    build_requests,
)

SCRIPT = b"#!/bin/sh\nexec sleep 1\n"


@dataclass
class Served:
    """A running API; `client` calls it."""

    context: Context
    app: Api
    store: Store
    actors: ScriptedActors
    client: Client
    said: list[tuple[str, str]]
    state: dict[str, Any]
    logs_root: Path
    history: UsageHistory
    driver: Measured
    loads: dict[str, Load]
    builds: list[Build]
    previews: Ending
    writers: list[Lines] = field(default_factory=list)

    async def app_id(self, name: str = "my-api") -> str:
        answer = await self.client.post("/api/v1/apps", {"name": name})
        assert answer.status == 201, answer
        return str(answer.json["id"])

    async def artifact_id(self, content: bytes = SCRIPT) -> str:
        made = await self.client.post("/api/v1/artifacts", {"name": "server"})
        path = f"/api/v1/artifacts/{made.json['id']}/upload"
        uploaded = await self.client.call("POST", path, body=content)
        assert uploaded.status == 200, uploaded
        return str(made.json["id"])

    async def deployment(self, app_id: str | None = None, **spec: Any) -> Any:
        app_id = app_id or await self.app_id()
        body = {"artifact_id": await self.artifact_id(), **spec}
        answer = await self.client.post(f"/api/v1/apps/{app_id}/deployments", body)
        assert answer.status == 201, answer
        return answer.json

    async def task(self, deployment: Any, **changes: Any) -> Task:
        task = Task(
            id=new_id(),
            deployment_id=deployment["id"],
            app_id=deployment["app_id"],
            slot=0,
            generation=1,
            phase=TaskPhase.RUNNING,
            created_at=clock.now(),
            updated_at=clock.now(),
        )
        return await asyncio.wrap_future(self.store.commit(SaveTask(replace(task, **changes))))

    async def change(self, deployment_id: str, **changes: Any) -> Deployment:
        """Saves the deployment with `changes`, as its actor would."""
        now = self.store.deployment(deployment_id)
        assert now is not None
        return await self.actors.save(replace(now, revision=now.revision + 1, **changes))

    async def finish(self, deployment_id: str) -> None:
        await self.change(deployment_id, status=Status.CANCELLED, phase=Phase.DONE, goal=Goal.FINISHED)

    def lines(self, deployment_id: str, task_id: str | None = None) -> Lines:
        writer = Lines(self.logs_root, self.context.hub, deployment_id, task_id or new_id())
        self.writers.append(writer)
        return writer


class Running:
    """Starts and stops a `Served`: `async with Running(folder, cors_origin=(…)) as served`."""

    def __init__(
        self, folder: Path, change: Callable[[Context], Context] = lambda same: same, **settings: Any
    ) -> None:
        self._folder = folder
        self._change = change
        self._settings = Settings(data_dir=folder, port=0, **settings)

    async def __aenter__(self) -> Served:
        hub = Hub(asyncio.get_running_loop())
        store = Store.open(self._folder, publish=hub.publish)
        actors = ScriptedActors(store)
        said: list[tuple[str, str]] = []
        state: dict[str, Any] = {"ready": True, "status": "ok", "checks": {}, "recovering": False}

        async def say(deployment_id: str, message: str) -> None:
            said.append((deployment_id, message))

        builds: list[Build] = []
        previews = Ending()
        hooks = Hooks(
            Commits(store),
            previews,
            lambda asked: builds.append(asked.build),
            domain="localhost",
            build_timeout_secs=900.0,
        )
        supervision = Inspection(Directory(InlineRuntime(), Supervisor()), store, DeadLetters())
        driver, loads = Measured(), dict[str, Load]()
        history = UsageHistory(store, [driver], loads)  # type: ignore[list-item]
        context = Context(
            settings=self._settings,
            views=Views(store, Addresses(port=47000)),
            configured=ConfigurationViews(store.reader, Addresses(port=47000)),
            hub=hub,
            logs=LogStore(self._folder / "logs"),
            artifacts=ArtifactFiles(self._folder / "artifacts"),
            trees=SentTrees(self._folder / "trees", lambda: known_uploads(store.reader)),
            writes=Creations(Commits(store), Nobody(), Deaf(), "localhost"),  # type: ignore[arg-type]
            configuration=Configuration(Commits(store), Deaf()),  # type: ignore[arg-type]
            removals=Patient(),
            builds=build_requests(store),
            built=BuildViews(store.reader),
            webhooks=WebhookViews(store.reader),
            hooks=hooks,
            vault=Vault.open(self._folder),
            tokens=TokenViews(store.reader),
            write_behind=store.commit,
            answered=lambda key_id: kept(store.reader, key_id, clock.now()),
            supervision=supervision,
            usage=history,
            node=lambda: node.describe({"cgroups": (False, "none here")}),
            ask=actors.ask,
            deployment=store.deployment,
            ready=lambda: {name: state[name] for name in ("ready", "status", "checks")},
            version="1.2.3",
            say=say,
            recovering=lambda: bool(state["recovering"]),
        )
        app = make_app(self._change(context))
        self._server = make_server(app)
        sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        client = Client(sockets[0].getsockname()[1])
        logs_root = self._folder / "logs"
        self._served = Served(
            context,
            app,
            store,
            actors,
            client,
            said,
            state,
            logs_root,
            history,
            driver,
            loads,
            builds,
            previews,
        )
        return self._served

    async def __aexit__(self, *_: object) -> None:
        self._server.stop()
        await self._served.app.close()
        await self._server.close_all_connections()
        for writer in self._served.writers:
            writer.close()
        self._served.context.hub.close()
        self._served.store.close()
