"""Bringing a database to the present schema. Called once by `Store.open`, before any other thread exists.

The schema's number is SQLite's `user_version`. An empty file gets the present schema at once; an older one is copied
beside itself and then changed step by step, each step in one transaction together with its number, so that a process
killed at any instant leaves the schema before or after a step and the next start goes on from there.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from peewee import SqliteDatabase

from platformd import __version__
from platformd.durable import sync_folder
from platformd.store.connection import Refused
from platformd.store.models import MetaRow, create_tables
from platformd.store.second_schema import second_schema
from platformd.store.third_schema import third_schema

Step = Callable[[SqliteDatabase], None]

# Step n (from 1) leads from schema n to n + 1; `create_tables` always makes the schema after the last.
STEPS: tuple[Step, ...] = (second_schema, third_schema)


def migrate(database: SqliteDatabase, path: Path | None, steps: Sequence[Step] = STEPS) -> None:
    """Lead the database to schema `len(steps) + 1`; `Refused` for a newer one or one that is not ours."""
    latest = len(steps) + 1
    present = schema_version(database)
    if present > latest:
        raise Refused(
            f"{path} has schema {present}, last written by platformd {_release(database)}; this is platformd "
            f"{__version__}, which knows schemas up to {latest}: start the newer release or restore a backup"
        )
    if present == latest:
        return
    if present == 0:
        _create(database, path, latest)
        return
    if path is not None:
        _back_up(database, path, present)
    for number in range(present, latest):
        _in_transaction(database, steps[number - 1], number + 1)


def schema_version(database: SqliteDatabase) -> int:
    return int(database.execute_sql("PRAGMA user_version").fetchone()[0])


def backup_path(path: Path, schema: int) -> Path:
    """Where the copy from before leaving `schema` lies."""
    return path.with_name(f"{path.name}.schema-{schema}.bak")


def _create(database: SqliteDatabase, path: Path | None, latest: int) -> None:
    foreign = database.get_tables()
    if foreign:
        raise Refused(f"{path} is a database of something else (it has the table {foreign[0]!r})")
    _in_transaction(database, create_tables, latest)


def _in_transaction(database: SqliteDatabase, step: Step, reached: int) -> None:
    with database.atomic("IMMEDIATE"):
        step(database)
        MetaRow.replace(key="written_by", value=__version__).execute(database)
        database.execute_sql(f"PRAGMA user_version = {reached}")


def _release(database: SqliteDatabase) -> str:
    try:
        row = database.execute_sql("SELECT value FROM meta WHERE key = 'written_by'").fetchone()
    except Exception:  # what a newer release calls its tables is unknown
        return "of a later release"
    return str(row[0]) if row else "of a later release"


def _back_up(database: SqliteDatabase, path: Path, schema: int) -> None:
    """A complete copy under its final name, durable, or none."""
    final = backup_path(path, schema)
    unfinished = final.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        copy = sqlite3.connect(unfinished)
        try:
            database.connection().backup(copy)
        finally:
            copy.close()
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    unfinished.rename(final)
    sync_folder(path.parent)
