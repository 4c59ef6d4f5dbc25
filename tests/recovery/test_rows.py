"""What a start makes of rows that disagree with the world: adopted or ended, never doubled, no stranger touched."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.platform import Platform, host_of
from tests.recovery import verify
from tests.support import eventually


@contextlib.contextmanager
def rows(platform: Platform) -> Iterator[sqlite3.Connection]:
    """The database of a server that is down."""
    assert platform.process is None
    with contextlib.closing(sqlite3.connect(platform.data_dir / "platformd.db")) as database:
        yield database
        database.commit()


def edit(database: sqlite3.Connection, table: str, row_id: str, change: Callable[[Any], None]) -> None:
    [(text,)] = database.execute(f"SELECT snapshot FROM {table} WHERE id = ?", (row_id,)).fetchall()
    snapshot = json.loads(text)
    change(snapshot)
    database.execute(f"UPDATE {table} SET snapshot = ? WHERE id = ?", (json.dumps(snapshot), row_id))


def end_all_processes(platform: Platform) -> None:
    """As the end of the machine would."""
    platform.kill()
    for process in platform.family():
        with contextlib.suppress(psutil.Error):
            process.kill()
    eventually(lambda: not platform.family())


class Stored:
    """One running app whose rows are durable."""

    def __init__(self, platform: Platform, tiny: Path, marks: Path, **spec: Any) -> None:
        self.platform, self.marks = platform, marks
        self.deployment = platform.deploy(tiny, env={"MARK_FILE": str(marks)}, **spec)
        self.id, self.host = self.deployment["id"], host_of(self.deployment)
        [self.task] = eventually(lambda: platform.tasks(self.id, "running"))
        platform.wait(self.id, lambda d: d["current"])

    def has_one(self, starts: int) -> Any:
        """Exactly one process, which serves; the only task that runs."""
        assert self.platform.get(self.host).status == 200
        verify.assert_settles(self.platform)
        verify.assert_none_started_twice(self.marks)
        assert sum(verify.started(self.marks).values()) == starts
        [task] = eventually(lambda: self.platform.tasks(self.id, "running"))
        return task


@pytest.fixture
def app(platform: Platform, tiny: Path, common: Path) -> Stored:
    return Stored(platform, tiny, common / "marks")


def test_a_lost_task_row(app: Stored) -> None:
    """The keeper's record stands in for it."""
    app.platform.kill()
    with rows(app.platform) as database:
        database.execute("DELETE FROM tasks WHERE id = ?", (app.task["id"],))
    app.platform.start()
    assert app.has_one(starts=1)["pid"] == app.task["pid"]


def test_a_lost_task_row_and_a_lost_keeper(app: Stored) -> None:
    app.platform.kill()
    os.kill(app.platform.keeper_pid(), signal.SIGKILL)
    with rows(app.platform) as database:
        database.execute("DELETE FROM tasks WHERE id = ?", (app.task["id"],))
    app.platform.start()
    assert app.has_one(starts=1)["pid"] == app.task["pid"]


def test_a_wake_that_no_row_tells_of(app: Stored) -> None:
    """The whole database goes back to before the wake."""
    platform, database = app.platform, app.platform.data_dir / "platformd.db"
    platform.sleep(app.id)
    platform.kill()
    with rows(platform) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(database, database.with_suffix(".old"))
    platform.start()
    woken = platform.get(app.host, "/pid").text
    platform.kill()
    for name in (f"{database.name}-wal", f"{database.name}-shm"):
        (database.parent / name).unlink(missing_ok=True)
    database.with_suffix(".old").rename(database)
    platform.start()
    assert platform.get(app.host, "/pid").text == woken
    assert app.has_one(starts=2)["pid"] == int(woken)
    platform.wait(app.id, lambda d: d["phase"] == "ready")


def test_a_task_of_an_unknown_deployment_is_ended(app: Stored) -> None:
    app.platform.kill()
    with rows(app.platform) as database:
        database.execute("DELETE FROM tasks WHERE id = ?", (app.task["id"],))
        database.execute("DELETE FROM deployments WHERE id = ?", (app.id,))
    app.platform.start()
    eventually(lambda: not verify.living(app.platform))
    eventually(lambda: not (app.platform.data_dir / "run" / app.task["id"]).exists())


@pytest.mark.parametrize("verb", ["cancel", "sleep"])
def test_a_row_that_names_a_strangers_process(app: Stored, verb: str) -> None:
    """Nobody is signalled for what a row says: not at the start, not at the end of the task."""
    platform = app.platform
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as stranger:
        try:
            end_all_processes(platform)
            shutil.rmtree(platform.data_dir / "run" / app.task["id"])
            born = int(Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19])

            def blame(task: Any) -> None:
                task["pid"] = stranger.pid
                task["handle"] |= {"pid": stranger.pid, "start_time": born}

            with rows(platform) as database:
                edit(database, "tasks", app.task["id"], blame)
            platform.start()
            platform.wait(app.id, lambda d: d["phase"] == "ready")
            app.has_one(starts=2)
            platform.api("POST", f"/deployments/{app.id}/{verb}")
            eventually(lambda: not verify.living(platform))
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_restart_of_the_host(app: Stored, tiny: Path) -> None:
    """What was awake starts again and says why; what slept stays asleep."""
    platform = app.platform
    slept = platform.deploy(tiny, env={"MARK_FILE": str(app.marks)}, replicas=0)
    platform.wait(slept["id"], lambda d: d["phase"] == "asleep")
    end_all_processes(platform)
    for record in (platform.data_dir / "run").glob("*/launch.json"):
        record.write_text(json.dumps(json.loads(record.read_text()) | {"boot_id": "another"}))
    with rows(platform) as database:
        database.execute("UPDATE anchors SET boot_id = 'another'")
        edit(database, "tasks", app.task["id"], lambda task: task["handle"].update(boot="another"))
    platform.start()
    platform.wait(app.id, lambda d: d["phase"] == "ready")
    task = app.has_one(starts=2)
    assert task["restarts"] == 0
    ended = next(one for one in platform.tasks(app.id) if one["id"] == app.task["id"])
    assert ended["reason"]["code"] == "HOST_RESTARTED"
    assert platform.deployment(slept["id"])["phase"] == "asleep"


@pytest.mark.parametrize("asleep", [False, True])
def test_an_address_that_only_one_side_knows_of(app: Stored, tiny: Path, asleep: bool) -> None:
    """The crash came between the claim and the rows of winner and loser, who were awake or asleep."""
    platform = app.platform
    newer = platform.deploy(tiny, app_id=app.deployment["app_id"])["id"]
    platform.wait(app.id, lambda d: d["superseded_by"] == newer and d["phase"] == "asleep")
    if asleep:
        platform.sleep(newer)
    platform.kill()
    with rows(platform) as database:
        edit(database, "deployments", app.id, lambda d: d.update(current=True, superseded_by=None))
        edit(database, "deployments", newer, lambda d: d.update(current=False))
    platform.start()
    platform.wait(app.id, lambda d: not d["current"] and d["superseded_by"] == newer)
    platform.wait(newer, lambda d: d["current"])


def test_a_claim_that_was_lost(platform: Platform, tiny: Path) -> None:
    """Born asleep, stored, and never became current."""
    born = platform.deploy(tiny, replicas=0)
    platform.wait(born["id"], lambda d: d["current"])
    platform.kill()
    with rows(platform) as database:
        database.execute("UPDATE environments SET current_deployment = NULL, current_version = NULL")
        edit(database, "deployments", born["id"], lambda d: d.update(current=False))
    platform.start()
    platform.wait(born["id"], lambda d: d["current"])
    app = platform.api("GET", f"/apps/{born['app_id']}").json
    assert platform.get(f"{app['subdomain']}-development.localhost").status == 200
