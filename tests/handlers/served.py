"""The API on a loopback port with everything real but the actors, for tests of handlers.

Store, views, hub, artifacts and logs are the service's own, on a temporary directory. Orders go to `ScriptedActors`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tornado.netutil import bind_sockets

from actors.build_requests import BuildRequests
from actors.commits import Commits
from actors.configuration import Configuration
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
from platformd.artifacts import ArtifactFiles
from platformd.build_views import BuildViews
from platformd.config import Settings
from platformd.configuration_views import ConfigurationViews
from platformd.domain import commands
from platformd.domain.build.orders import SaveBuild
from platformd.domain.build.state import Build, BuildState
from platformd.domain.deliveries import Received
from platformd.domain.deployment.changes import changed
from platformd.domain.deployment.state import Deployment, Goal, Phase, Status
from platformd.domain.naming import Addresses
from platformd.domain.operations import (
    CompleteArtifact,
    CreateApp,
    CreateArtifact,
    CreateDeployment,
    RollBack,
    SaveDeployment,
    SaveTask,
)
from platformd.domain.retries import RequestKey
from platformd.domain.snapshot import App, Artifact
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task import Task, TaskPhase
from platformd.domain.variables import Precedence
from platformd.drivers.base import Usage
from platformd.errors import PreconditionFailed
from platformd.hub import Hub
from platformd.ids import new_id
from platformd.keeper import segments
from platformd.logstore import LogStore
from platformd.secrets import Vault
from platformd.store import Store
from platformd.store.retries import kept
from platformd.token_views import TokenViews
from platformd.views import Views
from platformd.webhook_views import WebhookViews
from tests.handlers.client import Client

SCRIPT = b"#!/bin/sh\nexec sleep 1\n"


@dataclass
class StoredWrites:
    """Creations without actors and without a gateway."""

    commits: Commits

    def under(self, key: RequestKey | None) -> StoredWrites:
        return StoredWrites(self.commits.under(key))

    async def create_app(
        self, *, name: str, namespace: str, description: str | None, labels: Mapping[str, str]
    ) -> App:
        return await self.commits(
            CreateApp(
                name=name,
                namespace=namespace,
                description=description,
                labels=labels,
                domain="localhost",
                at=clock.now(),
            )
        )

    async def create_artifact(self, *, name: str, content_type: str) -> Artifact:
        operation = CreateArtifact(name=name, content_type=content_type, at=clock.now())
        return await self.commits(operation)

    async def complete_artifact(self, artifact_id: str, *, sha256: str, size: int) -> Artifact:
        operation = CompleteArtifact(id=artifact_id, sha256=sha256, size=size, at=clock.now())
        return await self.commits(operation)

    async def create_deployment(
        self,
        *,
        app_id: str,
        environment: str,
        spec: DeploymentSpec,
        precedence: Precedence = Precedence.DEPLOYMENT,
        promoted_from: str | None = None,
        build: Build | None = None,
    ) -> Deployment:
        operation = CreateDeployment(
            app_id=app_id,
            environment=environment,
            spec=spec,
            domain="localhost",
            at=clock.now(),
            steady=clock.steady(),
            precedence=precedence,
            promoted_from=promoted_from,
            commit=build.commit if build else None,
            build_id=build.id if build else None,
        )
        return await self.commits(operation)

    async def roll_back(self, *, app_id: str, environment: str) -> Deployment:
        operation = RollBack(
            app_id=app_id, environment=environment, domain="localhost", at=clock.now(), steady=clock.steady()
        )
        return await self.commits(operation)


@dataclass
class ScriptedActors:
    """Answers orders as the actors would on their simplest way; `fail` makes the next one raise."""

    store: Store
    asked: list[tuple[str, str, object]] = field(default_factory=list)
    fail: BaseException | None = None

    async def ask(self, kind: str, id: str, command: object) -> Any:
        self.asked.append((kind, id, command))
        if self.fail is not None:
            failure, self.fail = self.fail, None
            raise failure
        if kind == "build":
            build = self.store.build(id)
            assert build is not None
            cancelled = replace(build, state=BuildState.CANCELLED, revision=build.revision + 1)
            return await asyncio.wrap_future(self.store.commit(SaveBuild(cancelled)))
        if kind == "task":
            task = self.store.task(id)
            assert task is not None
            changed_task = replace(task, phase=TaskPhase.STOPPING, revision=task.revision + 1)
            return await asyncio.wrap_future(self.store.commit(SaveTask(changed_task)))
        deployment = self.store.deployment(id)
        assert deployment is not None
        if isinstance(command, commands.IfRevision):
            if command.revision != deployment.revision:
                raise PreconditionFailed.of(command.revision, deployment.revision)
            command = command.command
        return await self.save(self._step(deployment, command))

    async def save(self, deployment: Deployment) -> Deployment:
        return await asyncio.wrap_future(self.store.commit(SaveDeployment(deployment)))

    def _step(self, deployment: Deployment, command: object) -> Deployment:
        now = replace(deployment, revision=deployment.revision + 1)
        match command:
            case commands.Change():
                now.refuse_if_finished("changed")
                spec = changed(now.spec, command)
                return replace(now, spec=spec, target=max(1, spec.replicas), generation=now.generation + 1)
            case commands.Restart():
                return now
            case commands.Cancel():
                return replace(now, status=Status.CANCELLED, phase=Phase.DONE, goal=Goal.FINISHED)
            case commands.Wake():
                return replace(now, status=Status.RUNNING, phase=Phase.WAKING, goal=Goal.AWAKE)
            case commands.Sleep():
                return replace(now, status=Status.RUNNING, phase=Phase.ASLEEP, goal=Goal.ASLEEP)
        raise AssertionError(command)


class Deaf:
    """No gateway hears of addresses."""

    def publish_hosts(self, app_id: str) -> None:
        pass

    def forget_hosts(self, hostnames: Collection[str]) -> None:
        pass


class Nobody:
    """A directory in which there are no actors."""

    def tell(self, key: object, message: object, lane: object = None) -> None:
        pass


def build_requests(store: Store) -> BuildRequests:
    """Builds are queued and nobody begins them."""
    world = SimpleNamespace(store=store, directory=Nobody())
    yard = SimpleNamespace(introduce=lambda deployment: None, domain="localhost")
    return BuildRequests(Commits(store), world, yard, timeout_secs=900)  # type: ignore[arg-type]


class Ending:
    """Previews that end in their own time."""

    def __init__(self) -> None:
        self.removed: list[Received] = []

    def remove(self, closed: Received) -> None:
        self.removed.append(closed)


class Patient:
    """An app whose removal takes its time."""

    async def remove(self, app_id: str, at: datetime, revision: int | None) -> bool:
        return False


@dataclass
class Measured:
    """What a driver says of the tasks that it is told to measure."""

    used: dict[str, Usage] = field(default_factory=dict)

    def usage(self, task_ids: Iterable[str]) -> dict[str, Usage]:
        return {id: self.used[id] for id in task_ids if id in self.used}


class Lines:
    """Writes output of one task the way the keeper does, and says so to the hub."""

    def __init__(self, root: Path, hub: Hub, deployment_id: str, task_id: str) -> None:
        self._writer = segments.Writer(str(root / deployment_id / task_id))
        self._hub = hub
        self._deployment_id = deployment_id
        self.last_id = 0

    def write(self, *lines: str, stream: int = segments.STDOUT, announce: bool = True) -> list[int]:
        """The ids of the new lines."""
        payload = "".join(line + "\n" for line in lines).encode()
        first = max(self.last_id + 1, int(clock.now().timestamp() * 1e6))
        buffers = segments.frame(stream, segments.LINES, [payload], len(lines), first)
        size = sum(map(len, buffers))
        if self._writer.needs_new_segment(size):
            self._writer.begin_segment(first)
        self._writer.append(buffers, size)
        self.last_id = first + len(lines) - 1
        if announce:
            self._hub.lines({self._deployment_id: self.last_id})
        return list(range(first, first + len(lines)))

    def close(self) -> None:
        self._writer.close()


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
            writes=StoredWrites(Commits(store)),
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
