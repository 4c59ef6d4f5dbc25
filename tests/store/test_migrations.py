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
from platformd.store.migrations import backup_path, migrate, schema_version
from tests.store.samples import make_app, make_deployment

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
        migrate(database, data_dir / FILE_NAME, steps)
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
    assert not backup_path(data_dir / FILE_NAME, 1).exists()


def test_a_step_is_taken_once_after_a_copy(data_dir):
    assert migrated(data_dir, add_colour) == 2
    assert migrated(data_dir, add_colour) == 2
    assert colours(data_dir / FILE_NAME) == ["blue"]
    copy = backup_path(data_dir / FILE_NAME, 1)
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
    assert migrated(data_dir, add_colour) == 2


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
migrations.migrate(open_database(path), path, (step,))
"""


@pytest.mark.parametrize("moment", ["backup", "step", "after"])
def test_killed_within_a_migration_the_next_start_goes_on(data_dir, moment):
    killed = subprocess.run([sys.executable, "-c", KILLED, data_dir, moment, ADD], timeout=60)
    assert killed.returncode == -9
    assert migrated(data_dir, add_colour) == 2
    assert colours(data_dir / FILE_NAME) == ["blue"]
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        colours(backup_path(data_dir / FILE_NAME, 1))
    left = {path.name for path in data_dir.iterdir()}
    assert left == {FILE_NAME, backup_path(data_dir / FILE_NAME, 1).name}
