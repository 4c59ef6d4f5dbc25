"""What stands in the place of actors, gateway and drivers when only the API is tested. See `served`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from actors.build_requests import BuildRequests
from actors.commits import Commits
from platformd import clock
from platformd.domain import commands
from platformd.domain.build.orders import SaveBuild
from platformd.domain.build.state import BuildState
from platformd.domain.deliveries import Received
from platformd.domain.deployment.changes import changed
from platformd.domain.deployment.state import Deployment, Goal, Phase, Status
from platformd.domain.operations import (
    SaveDeployment,
    SaveTask,
)
from platformd.domain.requests import RequestKey
from platformd.domain.task import TaskPhase
from platformd.drivers.base import Usage
from platformd.errors import PreconditionFailed
from platformd.hub import Hub
from platformd.keeper import segments
from platformd.store import Store


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
        key = None
        if isinstance(command, commands.ForRequest):
            command, key = command.command, command.key
        if isinstance(command, commands.IfRevision):
            if command.revision != deployment.revision:
                raise PreconditionFailed.of(command.revision, deployment.revision)
            command = command.command
        return await self.save(self._step(deployment, command), key)

    async def save(self, deployment: Deployment, key: RequestKey | None = None) -> Deployment:
        return await asyncio.wrap_future(self.store.commit(SaveDeployment(deployment, key)))

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
    """A gateway that is away: it hears of nothing."""

    def publish_hosts(self, app_id: str) -> None:
        pass

    def forget_hosts(self, hostnames: Collection[str]) -> None:
        pass

    def route(self, deployment_id: str, before: object, after: object) -> None:
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
