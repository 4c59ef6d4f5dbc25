"""A database as a file that is copied, checked and put back. Called by backups, in a process without a writer."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from platformd.store.connection import Refused
from platformd.store.migrations import STEPS

_BUSY_SECS = 30.0
_SIDE_FILES = ("-wal", "-shm")


def latest_schema() -> int:
    """The schema that this release makes."""
    return len(STEPS) + 1


def schema_of(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def copy(source: Path, target: Path) -> None:
    """All that is committed at one instant, as one private file; a server may go on writing to `source`."""
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=_BUSY_SECS)
            ) as there,
            contextlib.closing(sqlite3.connect(target)) as here,
        ):
            there.execute("PRAGMA query_only = 1")
            there.backup(here)
            here.execute("PRAGMA journal_mode = delete")
    except sqlite3.DatabaseError as error:
        raise Refused(f"{source} cannot be copied: {error}") from error


def check(path: Path) -> None:
    """`Refused` for what is no sound database."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        raise Refused(f"the database in the backup cannot be opened: {error}; nothing was changed") from error
    if found != "ok":
        raise Refused(f"the database in the backup is damaged: {found}; nothing was changed")


def settle(path: Path) -> None:
    """Bring the log of a database that nobody uses into it: beside another database it would be read as that one's."""
    if path.exists():
        with (
            contextlib.suppress(sqlite3.DatabaseError),
            contextlib.closing(sqlite3.connect(path)) as connection,
        ):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in _SIDE_FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def artifacts_of(path: Path) -> set[str]:
    """The SHA-256 of every artifact that has bytes."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT DISTINCT sha256 FROM artifacts WHERE sha256 IS NOT NULL")
        return {sha256 for (sha256,) in rows}
