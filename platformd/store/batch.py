"""One group commit: many operations and save-behinds in one transaction. Called by the writer only.

Each operation has a savepoint of its own: one that fails is taken back alone. When the disk is the reason, the whole
transaction is taken back and every operation tried alone, so that what fits is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from peewee import SqliteDatabase

from platformd.domain.deployment.state import Deployment
from platformd.domain.notice import Notice
from platformd.domain.operations import Operation, SaveDeployment, SaveTask
from platformd.domain.task import Task
from platformd.store.connection import is_storage_failure, storage_error
from platformd.store.operations import apply
from platformd.store.saves import save

Key = tuple[type, str]

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Behind:
    """The newest state of an object that waits to be written, and the notices of every state it stands for."""

    snapshot: Deployment | Task
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
        return key_of(operation.snapshot) if isinstance(operation, SaveDeployment | SaveTask) else None


@dataclass(slots=True)
class Batch:
    """What goes into one transaction. After `commit`, `kept` holds the save-behinds the disk did not take and
    `behinds` those it did."""

    writes: list[Write]
    behinds: list[Behind]
    kept: list[Behind] = field(default_factory=list)
    failure: BaseException | None = None

    def not_stored(self) -> list[Behind]:
        """Save-behinds that are to be tried again, oldest first. One whose object a later write of this batch did
        store is not among them: its notices go with that write."""
        failed: dict[Key, Behind] = {}
        for write in self.writes:
            key = write.saves
            if key is None:
                continue
            earlier = failed.pop(key, None)
            if earlier is not None:
                write.covered = earlier.followed_by(write.covered)
            if write.error is not None and write.covered is not None:
                failed[key] = write.covered
        for behind in self.behinds:
            earlier = failed.pop(behind.key, None)
            if earlier is not None:
                behind.notices[:0] = earlier.notices
        return [*failed.values(), *self.kept]

    def commit(self, database: SqliteDatabase, path: Path | None) -> None:
        """Write everything; afterwards each write has a result or an error. Never raises."""
        failure = _transact(database, self.writes, self.behinds)
        if failure is None:
            return
        self.failure = failure
        self.kept, self.behinds = self.behinds, []
        alone = len(self.writes) == 1 and not self.kept
        for write in self.writes:
            not_stored = failure if alone else _transact(database, [write], [])
            if not_stored is not None:
                write.result = None
                write.error = (
                    storage_error(not_stored, path) if is_storage_failure(not_stored) else not_stored
                )


def key_of(snapshot: Deployment | Task) -> Key:
    return type(snapshot), snapshot.id


def _transact(
    database: SqliteDatabase, writes: Iterable[Write], behinds: Sequence[Behind]
) -> BaseException | None:
    """All of it durable, or the failure for which nothing is. An operation's own failure is in its `error`."""
    connection = database.connection()
    try:
        connection.execute("BEGIN IMMEDIATE")
        for write in writes:
            _attempt(database, write)
        _save_behinds(database, behinds)
        connection.execute("COMMIT")
    except Exception as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return error
    return None


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
    for kind in (Deployment, Task):
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


def _save_alone(database: SqliteDatabase, snapshot: Deployment | Task) -> None:
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
