"""One group commit: many operations and save-behinds in one transaction. Called by the writer only.

Each operation has a savepoint of its own: one that fails is taken back alone. When the disk is the reason, the whole
transaction is taken back and every operation tried alone, so that what fits is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from peewee import SqliteDatabase

from platformd.domain.build.orders import SaveBuild
from platformd.domain.build.state import Build
from platformd.domain.deployment.state import Deployment
from platformd.domain.notice import Event, Notice
from platformd.domain.operations import Operation, SaveDeployment, SaveTask
from platformd.domain.task import Task
from platformd.store.codec import Stateful
from platformd.store.connection import is_storage_failure, storage_error
from platformd.store.events import Recorder
from platformd.store.operations import apply
from platformd.store.saves import save

Key = tuple[type, str]

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Behind:
    """The newest state of an object that waits to be written, and the notices of every state it stands for."""

    snapshot: Stateful
    notices: list[Notice] = field(default_factory=list)

    @property
    def key(self) -> Key:
        return key_of(self.snapshot)

    def followed_by(self, newer: Behind | None) -> Behind:
        """This one and what was saved behind after it, as one."""
        if newer is None:
            return self
        return Behind(newer.snapshot, self.notices + newer.notices)


@dataclass(slots=True)
class Write:
    """An operation somebody waits for; `covered` is what its snapshot replaces of the save-behinds."""

    operation: Operation[Any]
    future: Future[Any]
    notices: Callable[[Any], Sequence[Notice]] | None = None
    covered: Behind | None = None
    result: Any = None
    error: BaseException | None = None

    @property
    def saves(self) -> Key | None:
        """The object whose snapshot this writes."""
        operation = self.operation
        if isinstance(operation, SaveDeployment | SaveTask | SaveBuild):
            return key_of(operation.snapshot)
        return None


@dataclass(slots=True)
class Batch:
    """What goes into one transaction. After `commit`, `kept` holds the save-behinds the disk did not take, `behinds`
    those it did, and `events` what is stored of their notices."""

    writes: list[Write]
    behinds: list[Behind]
    kept: list[Behind] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    failure: BaseException | None = None

    def not_stored(self) -> list[Behind]:
        """Save-behinds that are to be tried again, oldest first. One whose object a later write of this batch did
        store is not among them: its notices go with that write."""
        failed: dict[Key, Behind] = {}
        for write in self.writes:
            key = write.saves
            if key is None:
                continue
            if write.error is None:
                failed.pop(key, None)
            elif write.covered is not None:
                failed[key] = _following(failed, write.covered)
        for behind in self.behinds:
            failed.pop(behind.key, None)
        return [*failed.values(), *self.kept]

    def commit(self, database: SqliteDatabase, path: Path | None, recorder: Recorder) -> None:
        """Write everything; afterwards each write has a result or an error. Never raises."""
        failure = self._transact(database, recorder, self.writes, self.behinds)
        if failure is None:
            return
        self.failure = failure
        self.kept, self.behinds = self.behinds, []
        alone = len(self.writes) == 1 and not self.kept
        for index, write in enumerate(self.writes):
            not_stored = failure if alone else self._transact(database, recorder, [write], [])
            if not_stored is not None:
                write.result = None
                write.error = (
                    storage_error(not_stored, path) if is_storage_failure(not_stored) else not_stored
                )
            if write.error is not None:
                _hand_on(write, self.writes[index + 1 :])

    def _transact(
        self,
        database: SqliteDatabase,
        recorder: Recorder,
        writes: Sequence[Write],
        behinds: Sequence[Behind],
    ) -> BaseException | None:
        """All of it durable, or the failure for which nothing is. An operation's own failure is in its `error`."""
        connection = database.connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for write in writes:
                _attempt(database, write)
            _save_behinds(database, behinds)
            events = recorder.record(database, _notices(writes, behinds))
            connection.execute("COMMIT")
        except Exception as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return error
        self.events += events
        return None


def _notices(writes: Iterable[Write], behinds: Iterable[Behind]) -> list[Notice]:
    """What is to be told once this is durable, in order. What a failed write should have replaced is told with the
    next write of the same object, if there is one here."""
    notices: list[Notice] = []
    failed: dict[Key, Behind] = {}
    for write in writes:
        key = write.saves
        if write.error is None:
            earlier = failed.pop(key, None) if key is not None else None
            for behind in (earlier, write.covered):
                notices += behind.notices if behind else ()
            notices += _notices_of(write)
        elif write.covered is not None:
            failed[write.covered.key] = _following(failed, write.covered)
    for behind in behinds:
        earlier = failed.pop(behind.key, None)
        notices += earlier.notices if earlier else ()
        notices += behind.notices
    return notices


def _hand_on(failed: Write, later: Iterable[Write]) -> None:
    """The next write of the same object, which is to be tried alone, tells what this one should have replaced."""
    behind, successor = failed.covered, next((write for write in later if write.saves == failed.saves), None)
    if behind is not None and successor is not None:
        successor.covered, failed.covered = behind.followed_by(successor.covered), None


def _following(failed: Mapping[Key, Behind], behind: Behind) -> Behind:
    earlier = failed.get(behind.key)
    return behind if earlier is None else earlier.followed_by(behind)


def _notices_of(write: Write) -> Sequence[Notice]:
    if write.notices is None:
        return ()
    try:
        return write.notices(write.result)
    except Exception:
        _log.exception("store.notices_failed", operation=type(write.operation).__name__)
        return ()


def key_of(snapshot: Stateful) -> Key:
    return type(snapshot), snapshot.id


def _attempt(database: SqliteDatabase, write: Write) -> None:
    write.result, write.error = None, None
    try:
        write.result = _in_savepoint(database, lambda: apply(write.operation, database))
    except Exception as error:
        if is_storage_failure(error) or not database.connection().in_transaction:
            raise
        write.error = error


def _save_behinds(database: SqliteDatabase, behinds: Sequence[Behind]) -> None:
    """One statement a kind; when that fails, one a row, so that only what cannot be stored stays out."""
    for kind in (Deployment, Task, Build):
        of_kind = [behind.snapshot for behind in behinds if type(behind.snapshot) is kind]
        if not of_kind:
            continue
        try:
            _in_savepoint(database, lambda rows=of_kind: save(database, *rows))  # type: ignore[misc]
        except Exception as error:
            if is_storage_failure(error) or not database.connection().in_transaction:
                raise
            for snapshot in of_kind:
                _save_alone(database, snapshot)


def _save_alone(database: SqliteDatabase, snapshot: Stateful) -> None:
    try:
        _in_savepoint(database, lambda: save(database, snapshot))
    except Exception as error:
        if is_storage_failure(error) or not database.connection().in_transaction:
            raise
        _log.error(
            "store.snapshot_lost", kind=type(snapshot).__name__.lower(), id=snapshot.id, why=repr(error)
        )


def _in_savepoint(database: SqliteDatabase, work: Callable[[], Any]) -> Any:
    connection = database.connection()
    connection.execute("SAVEPOINT one")
    try:
        result = work()
    except BaseException:
        if connection.in_transaction:  # a full disk ends the transaction by itself
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
        raise
    connection.execute("RELEASE one")
    return result
