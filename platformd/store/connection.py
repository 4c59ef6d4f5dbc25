"""Opening the database, and what its failures mean to a caller.

Peewee makes and configures the writing connection; readers get plain query-only ones of their own. Any thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import peewee
from peewee import SqliteDatabase

from platformd.errors import NoSpace, PlatformError, Unavailable

FILE_NAME = "platformd.db"
_BUSY_SECS = 5.0
_WRITER_PRAGMAS: Mapping[str, object] = {
    "journal_mode": "wal",
    "synchronous": "full",
    "wal_autocheckpoint": 0,  # the writer decides when: a checkpoint in the middle of a burst costs its latency
    "cache_size": -16_384,
    "temp_store": "memory",
}
_RESERVE_BYTES = 1 << 20


class Refused(PlatformError):
    """The database cannot be used by this release; nothing in it was changed."""

    code = "STORE_REFUSED"


class StoreFailed(PlatformError):
    """The database engine failed in a way no caller can help; the message is in the log."""

    code = "STORE_FAILED"


def open_database(path: Path) -> SqliteDatabase:
    """The writing connection, usable from one thread at a time; `Refused` when the file is no database."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = SqliteDatabase(
        str(path), pragmas=_WRITER_PRAGMAS, timeout=_BUSY_SECS, thread_safe=False, check_same_thread=False
    )
    try:
        database.connect()
    except peewee.PeeweeException as error:
        if is_storage_failure(error):
            raise storage_error(error, path) from error
        raise Refused(f"{path} cannot be opened as a database: {error}; restore a backup") from error
    return database


def open_memory() -> SqliteDatabase:
    """A database that is gone when it is closed."""
    database = SqliteDatabase(":memory:", thread_safe=False, check_same_thread=False)
    database.connect()
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. It may be closed from another thread than the one that uses it."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only = 1")
    return connection


def is_storage_failure(error: BaseException) -> bool:
    """True when the disk, not the statement, is why: the same may succeed later."""
    primary = _code(error) & 0xFF
    return primary in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
    )


def storage_error(error: BaseException, path: Path | None) -> PlatformError:
    """What a caller is told about a storage failure."""
    if _code(error) & 0xFF == sqlite3.SQLITE_FULL or (path is not None and _is_full(path)):
        where = f"the disk of {path}" if path else "the store"
        return NoSpace(f"{where} is full and nothing was changed; make room, then try again")
    return Unavailable(
        f"the database could not be written ({error}) and nothing was changed; try again", code="STORE_FAILED"
    )


def _code(error: BaseException) -> int:
    cause = error.__context__ if isinstance(error, peewee.PeeweeException) else error  # the engine's own
    return getattr(cause, "sqlite_errorcode", None) or 0


def _is_full(path: Path) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _RESERVE_BYTES
