"""Opening databases of other releases, and being killed while changing one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from platformd import __version__
from platformd.store import Refused, Store
from platformd.store.connection import FILE_NAME, open_database
from platformd.store.migrations import STEPS, backup_path, migrate, schema_version
from tests.store.samples import make_app, make_deployment

PRESENT = len(STEPS) + 1
SCHEMA_1 = Path(__file__).with_name("schema_1.sql")
ADD = "ALTER TABLE apps ADD COLUMN colour TEXT DEFAULT 'blue'"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory of the present release with one app."""
    store = Store.open(tmp_path)
    make_deployment(store, make_app(store).id)
    store.close()
    return tmp_path


def add_colour(database) -> None:
    database.execute_sql(ADD)


def colours(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [colour for (colour,) in connection.execute("SELECT colour FROM apps")]
    finally:
        connection.close()


def migrated(data_dir: Path, *steps) -> int:
    database = open_database(data_dir / FILE_NAME)
    try:
        migrate(database, data_dir / FILE_NAME, (*STEPS, *steps))
        return schema_version(database)
    finally:
        database.close()


def test_a_new_database_needs_no_backup_and_is_private(data_dir):
    assert [path.name for path in data_dir.iterdir()] == [FILE_NAME]
    assert (data_dir / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_database_can_lie_elsewhere(tmp_path):
    elsewhere = tmp_path / "elsewhere.sqlite"
    Store.open(tmp_path / "data", path=elsewhere).close()
    assert [path.name for path in tmp_path.iterdir()] == [elsewhere.name]


def test_opening_again_changes_nothing(data_dir):
    store = Store.open(data_dir)
    assert len(list(store.deployments())) == 1
    store.close()
    assert not backup_path(data_dir / FILE_NAME, PRESENT).exists()


def test_a_step_is_taken_once_after_a_copy(data_dir):
    assert migrated(data_dir, add_colour) == PRESENT + 1
    assert migrated(data_dir, add_colour) == PRESENT + 1
    assert colours(data_dir / FILE_NAME) == ["blue"]
    copy = backup_path(data_dir / FILE_NAME, PRESENT)
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        colours(copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    (data_dir / "restored").mkdir()
    copy.rename(data_dir / "restored" / FILE_NAME)
    store = Store.open(data_dir / "restored")
    assert len(list(store.deployments())) == 1
    store.close()


def test_a_step_that_fails_leaves_the_schema_before_it(data_dir):
    def half(database) -> None:
        database.execute_sql(ADD)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        migrated(data_dir, half)
    assert migrated(data_dir, add_colour) == PRESENT + 1


def test_a_newer_schema_is_refused_by_name(data_dir):
    connection = sqlite3.connect(data_dir / FILE_NAME)
    connection.execute("UPDATE meta SET value = '7.8.9' WHERE key = 'written_by'")
    connection.execute("PRAGMA user_version = 42")
    connection.commit()
    connection.close()
    before = (data_dir / FILE_NAME).read_bytes()
    with pytest.raises(Refused) as caught:
        Store.open(data_dir)
    for named in ("42", "7.8.9", __version__, str(data_dir / FILE_NAME)):
        assert named in caught.value.message
    assert (data_dir / FILE_NAME).read_bytes() == before


def test_files_that_are_not_ours_are_refused(tmp_path):
    path = tmp_path / FILE_NAME
    path.write_bytes(b"no database at all, but long enough to have a header" * 100)
    with pytest.raises(Refused, match="cannot be opened as a database"):
        Store.open(tmp_path)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE music (title TEXT)")
    connection.close()
    with pytest.raises(Refused, match="'music'"):
        Store.open(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from platformd.store import migrations
from platformd.store.connection import FILE_NAME, open_database

path = Path(sys.argv[1]) / FILE_NAME
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def step(database):
    database.execute_sql(sys.argv[3])
    if sys.argv[2] == "step":
        die()
if sys.argv[2] == "backup":
    migrations.os.fsync = die
if sys.argv[2] == "after":
    migrations._in_transaction = lambda *a, real=migrations._in_transaction: (real(*a), die())
migrations.migrate(open_database(path), path, (*migrations.STEPS, step))
"""


@pytest.mark.parametrize("moment", ["backup", "step", "after"])
def test_killed_within_a_migration_the_next_start_goes_on(data_dir, moment):
    killed = subprocess.run([sys.executable, "-c", KILLED, data_dir, moment, ADD], timeout=60)
    assert killed.returncode == -9
    assert migrated(data_dir, add_colour) == PRESENT + 1
    assert colours(data_dir / FILE_NAME) == ["blue"]
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        colours(backup_path(data_dir / FILE_NAME, PRESENT))
    left = {path.name for path in data_dir.iterdir()}
    assert left == {FILE_NAME, backup_path(data_dir / FILE_NAME, PRESENT).name}


@pytest.fixture
def first_release(tmp_path: Path) -> Path:
    """A data directory as the first schema left it, with an app and a deployment of the present release's making."""
    (tmp_path / "present").mkdir()
    store = Store.open(tmp_path / "present")
    make_deployment(store, make_app(store).id)
    store.close()
    old = tmp_path / "old"
    old.mkdir()
    connection = sqlite3.connect(old / FILE_NAME)
    connection.executescript(SCHEMA_1.read_text())
    connection.execute("ATTACH ? AS present", (str(tmp_path / "present" / FILE_NAME),))
    tables = [
        name for (name,) in connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")
    ]
    for table in tables:
        columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
        connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM present.{table}")
    connection.commit()
    connection.close()
    return old


def schema_of(path: Path) -> dict[str, object]:
    """What queries can tell of a schema: each table's columns, each index."""
    connection = sqlite3.connect(path)
    try:
        names = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        tables = {
            name: sorted(row[1:] for row in connection.execute(f"PRAGMA table_info({name})"))
            for kind, name, *_ in names
            if kind == "table"
        }
        indexes = {name: table for kind, name, table, sql in names if kind == "index" and sql}
        return {"tables": tables, "indexes": indexes}
    finally:
        connection.close()


def test_a_database_of_the_first_schema_becomes_one_of_the_present(first_release, tmp_path):
    Store.open(first_release).close()
    assert schema_of(first_release / FILE_NAME) == schema_of(tmp_path / "present" / FILE_NAME)
    store = Store.open(first_release)
    assert len(list(store.deployments())) == 1 and len(list(store.routes())) == 3
    store.close()


@pytest.mark.parametrize("moment", ["backup", "after"])
def test_killed_within_the_steps_there_are_the_next_start_goes_on(first_release, moment):
    killed = subprocess.run([sys.executable, "-c", KILLED, first_release, moment, ADD], timeout=60)
    assert killed.returncode == -9
    assert migrated(first_release, add_colour) == PRESENT + 1
    assert colours(first_release / FILE_NAME) == ["blue"]
    assert backup_path(first_release / FILE_NAME, 1).exists()
