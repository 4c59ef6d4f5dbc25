"""What must survive: the one object the other rooms write to and read from. Any thread.

Writes are operations (durable when their future is done) and save-behinds (durable soon). Reads are rows. `deployment`,
`task` and `tasks_of` also see what was saved behind and is not durable yet, which is what an actor has to go on from;
views read through `reader` and so never show what a crash could take back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from peewee import SqliteDatabase

from platformd import clock
from platformd.domain.build.state import Build
from platformd.domain.deployment.state import Deployment
from platformd.domain.notice import Event, Notice
from platformd.domain.operations import Operation, Report
from platformd.domain.snapshot import App, Artifact
from platformd.domain.task import Task
from platformd.store.codec import Stateful
from platformd.store.connection import FILE_NAME, open_database, open_reader
from platformd.store.migrations import migrate
from platformd.store.operations import SaveAnchor
from platformd.store.reader import Current, Reader, Route
from platformd.store.thread import WriterThread
from platformd.store.writer import Publish, Writer

T = TypeVar("T")


def unheard(events: Sequence[Event], revisions: Mapping[tuple[str, str], int]) -> None:
    """The post-commit callback of a store nobody listens to."""


class Store:
    """The database of one data directory; see `open`."""

    def __init__(
        self,
        database: SqliteDatabase,
        path: Path | None,
        connect: Callable[[], sqlite3.Connection],
        publish: Publish,
    ) -> None:
        self._writer = Writer(database, path, publish)
        self.reader = Reader(connect)

    @classmethod
    def open(cls, data_dir: Path, publish: Publish = unheard, path: Path | None = None) -> Store:
        """Migrate (after a copy) and start the writer; `Refused` for a database of a newer release.

        The database is `platformd.db` in `data_dir` unless `path` says where. `publish(events, revisions)` is
        called after each commit, in commit order, on the writer's thread.
        """
        path = path or data_dir / FILE_NAME
        database = open_database(path)
        try:
            migrate(database, path)
        except BaseException:
            database.close()
            raise
        return _FileStore(database, path, publish)

    # ---- writes --------------------------------------------------------------------------------------------

    def commit(
        self, operation: Operation[T], notices: Callable[[T], Sequence[Notice]] | None = None
    ) -> Future[T]:
        """Store `operation`. The future is done when it is durable, with its result or a `PlatformError`; `notices`
        of the result are published just before."""
        return self._writer.submit(operation, notices)

    def report(self, notice: Notice) -> None:
        """Publish `notice` soon; it is lost with a disk that refuses."""
        self.commit(Report(), lambda _: (notice,))

    def save_behind(self, snapshot: Stateful, notices: Sequence[Notice] = ()) -> None:
        """Store `snapshot` soon, newest state of an object only; never blocks, never raises, tried again while the
        disk is full. `notices` are published once it is durable."""
        self._writer.save_behind(snapshot, notices)

    def save_anchor(self, anchor: clock.Anchor) -> None:
        """Keep where steady time starts in this boot; returns when it is durable."""
        self.commit(SaveAnchor(anchor)).result()

    @property
    def accepts_writes(self) -> bool:
        """False while the disk refuses."""
        return not self._writer.disk_refused

    def close(self) -> None:
        """Write what was accepted and close; later commits answer 503."""
        self._writer.close()
        self.reader.close()

    # ---- reads for actors ----------------------------------------------------------------------------------

    def deployment(self, id: str) -> Deployment | None:
        unsaved = self._writer.unsaved(Deployment, id)
        return unsaved if isinstance(unsaved, Deployment) else self.reader.get(Deployment, id)

    def task(self, id: str) -> Task | None:
        unsaved = self._writer.unsaved(Task, id)
        return unsaved if isinstance(unsaved, Task) else self.reader.get(Task, id)

    def build(self, id: str) -> Build | None:
        unsaved = self._writer.unsaved(Build, id)
        return unsaved if isinstance(unsaved, Build) else self.reader.get(Build, id)

    def tasks_of(self, deployment_id: str, live_only: bool = False) -> list[Task]:
        """Oldest first."""
        unsaved = [task for task in self._writer.all_unsaved(Task) if isinstance(task, Task)]
        tasks = {task.id: task for task in self.reader.tasks_of(deployment_id, live_only)}
        tasks |= {task.id: task for task in unsaved if task.deployment_id == deployment_id}
        return [task for task in tasks.values() if not (live_only and task.phase.final)]

    def is_saved(self, id: str) -> bool:
        """True when nothing of this deployment, task or build waits to be stored."""
        return not any(self._writer.unsaved(kind, id) for kind in (Deployment, Task, Build))

    # ---- reads of rows -------------------------------------------------------------------------------------

    def app(self, id: str) -> App | None:
        return self.reader.get(App, id)

    def artifact(self, id: str) -> Artifact | None:
        return self.reader.get(Artifact, id)

    def awake_deployments(self) -> list[str]:
        """Ids of the deployments that are neither asleep nor done."""
        return self.reader.awake_deployments()

    def contested(self) -> list[str]:
        """Ids of deployments whose rows and environments disagree about whom the address leads to."""
        return self.reader.contested()

    def live_tasks(self) -> list[Task]:
        """Tasks that have not stopped or failed, those saved behind included."""
        tasks = {task.id: task for task in self.reader.live_tasks()}
        tasks |= {task.id: task for task in self._writer.all_unsaved(Task) if isinstance(task, Task)}
        return [task for task in tasks.values() if not task.phase.final]

    def deployments(self) -> Iterator[Deployment]:
        """Every deployment that can be read, as `deployment` sees it, for the gateway's full table."""
        unsaved = {state.id: state for state in self._writer.all_unsaved(Deployment)}
        for state in self.reader.all(Deployment):
            newest = unsaved.get(state.id, state)
            yield newest if isinstance(newest, Deployment) else state

    def living(self, ids: Iterable[str]) -> set[str]:
        """Those of `ids` that have not ended, as `deployment` sees them."""
        unsaved = self._writer.all_unsaved(Deployment)
        ended = {state.id for state in unsaved if isinstance(state, Deployment) and state.status.final}
        return self.reader.living(ids) - ended

    def routes(self, app_id: str | None = None) -> Iterator[Route]:
        """Where every hostname leads, or every one of an app."""
        return self.reader.routes(app_id)

    def is_taken(self, hostname: str) -> bool:
        """Whether it leads to anything of anybody."""
        return self.reader.row("SELECT 1 FROM hosts WHERE hostname = ?", hostname) is not None

    def current(self, app_id: str, environment: str) -> Current:
        """Whom an environment's address leads to."""
        return self.reader.current(app_id, environment)

    def anchor(self, boot_id: str | None = None) -> clock.Anchor | None:
        """Where steady time starts in this boot, if that was stored."""
        return self.reader.anchor(boot_id or clock.boot_id())


class _FileStore(Store):
    """On disk, with a thread that writes."""

    def __init__(self, database: SqliteDatabase, path: Path, publish: Publish) -> None:
        super().__init__(database, path, lambda: open_reader(path), publish)
        self._thread = WriterThread(self._writer, database, path)
        self._thread.start()

    def close(self) -> None:
        self._thread.close()
        self.reader.close()
