"""Real actors of deployments and tasks on one thread, with a memory store, the fake driver and a small gateway.

Time stands still but for `pass_time`. Faults are injected into what actors act upon: `stage.driver_faults`,
`stage.store_faults` and `stage.traffic_faults`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from freezegun.api import FrozenDateTimeFactory

from actors.commits import Commits
from actors.creations import Creations
from actors.dead_letters import DeadLetters
from actors.deployment import DeploymentActor
from actors.directory import Directory
from actors.messages import Key, Lane
from actors.quarantine import quarantine
from actors.recovery import Recovery, pursue_addresses, recover
from actors.runtime import InlineRuntime
from actors.supervisor import Supervisor
from actors.task import TaskActor
from actors.timers import Timers
from actors.traffic import GatewayTraffic
from actors.world import World
from platformd.domain.deployment.state import Deployment
from platformd.domain.events import Created, Looked
from platformd.domain.operations import CompleteArtifact, CreateArtifact, CreateDeployment
from platformd.domain.spec import DeploymentSpec, ProcessType
from platformd.domain.task import Task
from platformd.drivers.fake import READY, FakeDriver, Script
from platformd.secrets import Vault
from platformd.store.memory import MemoryStore
from tests.actors.gateway import SmallGateway

START = datetime(2026, 1, 1, tzinfo=UTC)
DOMAIN = "localhost"


VAULT = Vault(Path("/keys/secrets.key"), bytes(32))


class Faulty:
    """Passes everything on to `inner`, except for calls that are to raise."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._faults: dict[str, list[BaseException | None]] = {}

    def fail(self, name: str, times: int = 1, after: int = 0, error: BaseException | None = None) -> None:
        """Of the next calls of `name` `after` go well and then `times` raise."""
        broken = error or RuntimeError(f"{name} is broken")
        self._faults[name] = [*[broken] * times, *[None] * after]

    def heal(self) -> None:
        self._faults.clear()

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)
        if not self._faults.get(name):
            return inner

        def call(*args: Any, **options: Any) -> Any:
            fault = self._faults[name].pop()
            if fault is not None:
                raise fault
            return inner(*args, **options)

        return call


class NoLoop:
    """Keeps what other threads want to have done on the loop's."""

    def __init__(self) -> None:
        self.soon: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def call_soon_threadsafe(self, call: Callable[..., object], *args: Any) -> None:
        self.soon.append((call, args))

    def call_later(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        self.soon.append((call, args))

    def run(self) -> None:
        soon, self.soon = self.soon, []
        for call, args in soon:
            call(*args)


class Stage:
    def __init__(self, clock: FrozenDateTimeFactory, script: Script = READY) -> None:
        self.clock = clock
        self.notices: list[Any] = []
        self.store = MemoryStore(
            publish=lambda events, _: self.notices.extend(event.notice for event in events)
        )
        self.driver = FakeDriver(self._from_driver, script)
        self.gateway = SmallGateway()
        self.lines: list[tuple[str, str | None, str]] = []
        self.artifact = self._artifact()
        self._begin()
        self.gateway.come()
        self.app = asyncio.run(
            self.creations.create_app(name="shop", namespace="default", description=None, labels={})
        )

    def _begin(self) -> None:
        """All that a serving process has in memory."""
        self.letters = DeadLetters()
        self.supervisor = Supervisor(
            dead_letter=self.letters, on_quarantine=lambda *what: quarantine(self.world, None, *what)
        )
        self.directory = Directory(InlineRuntime(), self.supervisor)
        self.timers = Timers(self.directory.tell)
        self.loop = NoLoop()
        self.traffic = GatewayTraffic(
            self.directory, self.store, self.gateway.obey, True, self.loop  # type: ignore[arg-type]
        )  # fmt: skip
        self.gateway.tell = self.traffic.on_report
        self.driver_faults = Faulty(self.driver)
        self.store_faults = Faulty(self.store)
        self.traffic_faults = Faulty(self.traffic)
        self.world = World(
            directory=self.directory,
            timers=self.timers,
            store=self.store_faults,  # type: ignore[arg-type]
            traffic=self.traffic_faults,  # type: ignore[arg-type]
            drivers={ProcessType.TISH: self.driver_faults},  # type: ignore[dict-item]
            executable=lambda artifact_id: Path("/artifacts") / artifact_id,
            write_line=lambda *line: self.lines.append(line),
            busy=self,
            vault=VAULT,
        )
        self.directory.register("deployment", lambda key: DeploymentActor(key, self.world))
        self.directory.register("task", lambda key: TaskActor(key, self.world))
        self.creations = Creations(Commits(self.store), self.directory, self.traffic, DOMAIN)

    def look(self, deployment: Deployment) -> None:
        """As `actors.busy`: nothing is busy."""
        self.directory.tell(Key("deployment", deployment.id), Looked(None))

    def end(self) -> None:
        self.directory.drop()
        self.store.close()

    def restart(
        self, *records: dict[str, Any], host_restarted: bool = False, lose: Sequence[object] = ()
    ) -> Recovery:
        """As after kill -9: nothing in memory is left. Rows and what the driver runs stay, but for rows in `lose`."""
        self.directory.drop()
        for row in lose:
            table = "tasks" if isinstance(row, Task) else "deployments"
            self.store._database.execute_sql(f"DELETE FROM {table} WHERE id = ?", (row.id,))  # type: ignore[attr-defined]
        self.gateway.connected = False
        self._begin()
        found = recover(self.world, records, host_restarted)
        pursue_addresses(self.world)
        self.gateway.come()
        return found

    # What there is

    def deployment(self, id: str) -> Deployment:
        found = self.store.deployment(id)
        assert found is not None, "there is no such deployment"
        return found

    def durable(self, id: str) -> Deployment:
        """Its row, without what waits to be written."""
        return next(self.store.reader.all(Deployment, "WHERE id = ?", id))

    def task(self, id: str) -> Task:
        found = self.store.task(id)
        assert found is not None, "there is no such task"
        return found

    def tasks(self, id: str) -> list[Task]:
        """The live tasks of a deployment."""
        return self.store.tasks_of(id, live_only=True)

    def living(self, id: str) -> list[str]:
        """The processes of a deployment."""
        return [task for task in self.driver.alive if self.driver.tasks[task].order.deployment_id == id]

    def is_quarantined(self, kind: str, id: str) -> bool:
        found = self.directory.find(Key(kind, id))
        return found is not None and found.state == "quarantined"

    # What is done

    def deploy(self, environment: str = "development", **changes: Any) -> str:
        """Created as by a caller; its id."""
        spec = DeploymentSpec(artifact_id=self.artifact, **changes)
        created = asyncio.run(
            self.creations.create_deployment(app_id=self.app.id, environment=environment, spec=spec)
        )
        return created.id

    def row(self, environment: str = "development", **changes: Any) -> Deployment:
        """Created, and the creator died before anybody heard of it."""
        return self.store.commit(
            CreateDeployment(
                app_id=self.app.id,
                environment=environment,
                spec=DeploymentSpec(artifact_id=self.artifact, **changes),
                domain=DOMAIN,
                at=self.now,
                steady=self.now,
            )
        ).result(timeout=1)

    def asleep(self, **changes: Any) -> str:
        """One that was ready, idled and sleeps."""
        id = self.deploy(**changes)
        self.pass_time(301)
        assert self.deployment(id).phase.value == "asleep"
        return id

    def key(self, id: str, kind: str = "deployment") -> Key:
        return Key(kind, id)

    def begin(self, id: str) -> None:
        self.tell(id, Created())

    def tell(self, id: str, fact: object, kind: str = "deployment") -> None:
        self.directory.tell(Key(kind, id), fact, Lane.FACT)

    def ask(self, id: str, command: object, kind: str = "deployment") -> Any:
        return self.directory.ask(Key(kind, id), command).get(timeout=1)

    @property
    def now(self) -> datetime:
        return self.clock().replace(tzinfo=UTC)

    def pass_time(self, seconds: float) -> None:
        """Timers fire at their instants."""
        until = self.now + timedelta(seconds=seconds)
        while (due := self._next_timer()) is not None and due <= until:
            self.clock.move_to(max(due, self.now))
            self.timers.fire_due()
        self.clock.move_to(until)

    def _next_timer(self) -> datetime | None:
        entries = [entry.at for names in self.timers._live.values() for entry in names.values()]
        return min(entries, default=None)

    def _from_driver(self, task_id: str, fact: object) -> None:
        self.directory.tell(Key("task", task_id), fact, Lane.FACT)

    def _artifact(self) -> str:
        made = self.store.commit(CreateArtifact(name="shop", content_type="x", at=self.now)).result()
        self.store.commit(CompleteArtifact(id=made.id, sha256="0" * 64, size=1, at=self.now)).result()
        return made.id


def record(task_id: str, deployment_id: str, pid: int = 7, **changes: Any) -> dict[str, Any]:
    """What the keeper tells of a task it started."""
    return {
        "op": "task",
        "task": task_id,
        "deployment": deployment_id,
        "slot": 0,
        "generation": 1,
        "pid": pid,
        "start_time": 1234,
        "boot_ns": int(START.timestamp() * 1e9),
        "handle": {"v": 1, "port": 20001},
        "exit": None,
        **changes,
    }
