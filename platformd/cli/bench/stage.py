"""What measurements are made on: a server, an app on it that can be put to sleep, and a stock of sleeping others.

Single-threaded. The stock is written through the store, into the data directory of a server that has stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from platformd import clock
from platformd.cli.bench.floors import TASK_PORTS, CannotMeasure
from platformd.cli.local import LocalServer, temporary_folder
from platformd.client import Client, Deployment
from platformd.domain.deployment.state import Deployment as Snapshot
from platformd.domain.deployment.state import Phase
from platformd.store import ClaimCurrent, CreateApp, CreateDeployment, SaveDeployment, Store

T = TypeVar("T")

DOMAIN = "localhost"
_FLAGS = ("--port", "0", "--gateway-port", "0", "--task-ports", TASK_PORTS, "--log-level", "warning")
_NEVER_IDLE = 3600
_RESERVE = timedelta(hours=1)


@contextmanager
def folder_and_server(*flags: str) -> Iterator[tuple[Path, LocalServer]]:
    """A temporary folder and a server in it that has not been started."""
    with temporary_folder("bench") as folder, LocalServer(folder, *_FLAGS, *flags) as server:
        yield folder, server


class Subject:
    """One deployed app on a server that runs."""

    def __init__(self, client: Client, name: str, what: Path | str, **spec: Any) -> None:
        """`what` is an executable, or the name of an image."""
        self._client = client
        app = client.create_app(name)
        if isinstance(what, Path):
            source = {"artifact_id": client.upload(what)["id"]}
        else:
            source = {"process_type": "docker", "image": what}
        body = {**source, "idle_timeout_secs": _NEVER_IDLE, **spec}
        self.id = client.deploy(app["id"], body)["id"]
        found = self._until(lambda seen: seen["status"] != "pending")
        if found["status"] != "running":
            raise CannotMeasure(f"{name} does not run: {found['reason']}")
        self.host = urlsplit(found["preview_url"]).hostname or ""

    def moved_to(self, client: Client) -> None:
        """Its server was started anew, elsewhere."""
        self._client = client

    def sleep(self) -> None:
        """Returns once nothing of it runs."""
        self._client.sleep(self.id)
        self._until(lambda seen: seen["phase"] == "asleep")

    def starts(self) -> int:
        """How many tasks it ever had."""
        return sum(1 for _ in self._client.tasks(self.id))

    def address(self) -> str:
        """Where its task listens."""
        [task] = [task for task in self._client.tasks(self.id) if task["state"] == "running"]
        return str(task["address"])

    def pid(self) -> int:
        [task] = [task for task in self._client.tasks(self.id) if task["state"] == "running"]
        return int(task["pid"] or 0)

    def _until(self, met: Callable[[Deployment], bool]) -> Deployment:
        return next(seen for seen in self._client.changes(self.id) if met(seen))


def put_in_stock(data_dir: Path, pattern_id: str, count: int) -> list[Snapshot]:
    """`count` more sleeping deployments like the sleeping one `pattern_id`, each of an app of its own."""
    store = Store.open(data_dir)
    try:
        pattern = store.deployment(pattern_id)
        if pattern is None or pattern.phase is not Phase.ASLEEP:
            raise CannotMeasure(f"deployment {pattern_id} does not sleep: it is {pattern and pattern.phase}")
        at = clock.now()
        apps = _all(
            store.commit(CreateApp(name=f"s{number}", namespace="stock", domain=DOMAIN, at=at))
            for number in range(count)
        )
        made = _all(
            store.commit(
                CreateDeployment(
                    app_id=app.id,
                    environment=pattern.identity.environment,
                    spec=pattern.spec,
                    domain=DOMAIN,
                    at=at,
                    steady=clock.steady(),
                )
            )
            for app in apps
        )
        _all(
            store.commit(
                ClaimCurrent(
                    deployment_id=each.id,
                    app_id=each.identity.app_id,
                    environment=each.identity.environment,
                    version=each.identity.version,
                )
            )
            for each in made
        )
        return _save(store, [replace(pattern, identity=each.identity) for each in made])
    finally:
        store.close()


def make_them_crash(data_dir: Path, stock: Sequence[Snapshot]) -> None:
    """Lets all of `stock` back off from crashes for an hour: each then has an actor with a timer."""
    store = Store.open(data_dir)
    try:
        retry_at = clock.steady() + _RESERVE
        _save(
            store,
            [
                replace(each, phase=Phase.BACKING_OFF, retry_at=retry_at, revision=each.revision + 1)
                for each in stock
            ],
        )
    finally:
        store.close()


def _save(store: Store, snapshots: list[Snapshot]) -> list[Snapshot]:
    return _all(store.commit(SaveDeployment(each)) for each in snapshots)


def _all(futures: Iterator[Future[T]]) -> list[T]:
    """Their results; all are under way before the first is waited for."""
    return [future.result() for future in list(futures)]
