"""A disk that is full: no acknowledged loss, 507 for writes, and it heals by itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from platformd.domain.deployment.state import Deployment
from platformd.domain.operations import CreateApp, SaveDeployment, SaveTask
from platformd.domain.spec import DeploymentSpec
from platformd.errors import NoSpace
from platformd.store import Store
from platformd.store.connection import open_memory
from platformd.store.migrations import migrate
from platformd.store.writer import Writer
from tests.store.conftest import Heard
from tests.store.samples import AT, DOMAIN, creation, done, make_app, make_deployment, notice, task_of
from tests.support import eventually

SIZE = 2 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"\0" * 4096)
    return filler


@pytest.mark.needs("the right to mount")
def test_a_full_disk_refuses_keeps_and_heals(small_disk, no_leaks):
    heard = Heard()
    store = Store.open(small_disk, heard)
    app = make_app(store)
    acknowledged = [make_deployment(store, app.id) for _ in range(20)]
    filler = fill(small_disk)

    refused = 0
    for _ in range(200):
        error = store.commit(creation(app.id)).exception(20)
        if error is None:
            continue
        assert isinstance(error, NoSpace), error
        assert (error.status, error.code) == (507, "INSUFFICIENT_STORAGE")
        refused += 1
    assert refused > 100
    assert not store.accepts_writes

    changed = replace(acknowledged[0], revision=9, spec=DeploymentSpec(env={"A": "x" * 200_000}))
    store.save_behind(changed, [notice("kept", changed)])
    store.save_behind(changed, [notice("kept too", changed)])
    assert store.deployment(changed.id) == changed
    assert store.reader.get(Deployment, changed.id) == acknowledged[0]
    assert heard.types == []

    filler.unlink()
    eventually(lambda: store.is_saved(changed.id))
    assert store.reader.get(Deployment, changed.id) == changed
    assert heard.types == ["kept", "kept too"]
    assert store.accepts_writes
    known = {deployment.identity.version for deployment in store.deployments()}
    newest = make_deployment(store, app.id)
    assert newest.identity.version == max(known) + 1 == len(known) + 1
    store.close()

    again = Store.open(small_disk)
    stored = {deployment.id for deployment in again.deployments()}
    assert {deployment.id for deployment in (*acknowledged, newest)} <= stored
    assert again.deployment(changed.id) == changed
    again.close()


@pytest.mark.needs("the right to mount")
def test_a_store_on_a_full_disk_closes_and_opens_again(small_disk, no_leaks):
    store = Store.open(small_disk)
    app = make_app(store)
    made = make_deployment(store, app.id)
    filler = fill(small_disk)
    store.save_behind(replace(made, spec=DeploymentSpec(env={"A": "x" * 200_000})))
    store.close()
    again = Store.open(small_disk)
    assert again.deployment(made.id) == made
    again.close()
    filler.unlink()


# ---- the same by hand: a writer without a thread on a database that may not grow ---------------------------


class Limited:
    """A writer whose database has room for `pages` more pages."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.database = open_memory()
        migrate(self.database, None)
        self.writer = Writer(self.database, None, self.heard)

    def room_for(self, pages: int) -> None:
        (count,) = self.database.execute_sql("PRAGMA page_count").fetchone()
        self.database.execute_sql(f"PRAGMA max_page_count = {count + pages}")

    def stored(self, id: str) -> tuple[object, ...] | None:
        return self.database.execute_sql("SELECT revision FROM deployments WHERE id = ?", (id,)).fetchone()


@pytest.fixture
def limited() -> Iterator[Limited]:
    limited = Limited()
    yield limited
    limited.database.close()


def large(deployment: Deployment, revision: int) -> Deployment:
    return replace(deployment, revision=revision, spec=DeploymentSpec(env={"A": "x" * 300_000}))


def prepared(limited: Limited) -> Deployment:
    app = limited.writer.submit(CreateApp(name="web", domain=DOMAIN, at=AT))
    limited.writer.write_group()
    made = limited.writer.submit(creation(done(app).id))
    limited.writer.write_group()
    return done(made)


def test_what_fits_is_stored_though_its_neighbour_does_not(limited):
    deployment = prepared(limited)
    limited.room_for(4)
    small = limited.writer.submit(SaveTask(task_of(deployment)))
    too_large = limited.writer.submit(SaveDeployment(large(deployment, 2)))
    limited.writer.save_behind(large(deployment, 3))
    limited.writer.write_group()
    assert done(small)
    assert isinstance(too_large.exception(0), NoSpace)
    assert limited.stored(deployment.id) == (1,)
    assert limited.writer.disk_refused
    limited.room_for(1000)
    limited.writer.write_group()
    assert limited.stored(deployment.id) == (3,)
    assert not limited.writer.disk_refused


def test_a_refused_commit_gives_back_what_it_covered(limited):
    deployment = prepared(limited)
    limited.room_for(4)
    fact, order, later = (
        replace(deployment, revision=2),
        large(deployment, 3),
        replace(deployment, revision=4),
    )
    limited.writer.save_behind(fact, [notice("fact", fact)])
    refused = limited.writer.submit(SaveDeployment(order), lambda saved: [notice("order", saved)])
    limited.writer.write_group()
    assert isinstance(refused.exception(0), NoSpace)
    assert limited.writer.unsaved(Deployment, deployment.id) == fact
    assert limited.heard.types == []
    limited.writer.save_behind(later, [notice("later", later)])
    limited.writer.write_group()
    assert limited.heard.types == ["fact", "later"]
    assert limited.stored(deployment.id) == (4,)


def test_a_covered_fact_never_overwrites_a_later_command(limited):
    deployment = prepared(limited)
    limited.room_for(4)
    fact, small = replace(deployment, revision=2), replace(deployment, revision=4)
    limited.writer.save_behind(fact, [notice("fact", fact)])
    refused = limited.writer.submit(SaveDeployment(large(deployment, 3)))
    accepted = limited.writer.submit(SaveDeployment(small), lambda saved: [notice("order", saved)])
    limited.writer.write_group()
    assert isinstance(refused.exception(0), NoSpace)
    assert done(accepted) == small
    assert limited.writer.unsaved(Deployment, deployment.id) is None
    assert limited.heard.types == ["fact", "order"]
    assert limited.writer.write_group() is False
    assert limited.stored(deployment.id) == (4,)


def test_a_refused_save_behind_never_overwrites_the_command_that_came_meanwhile(limited):
    deployment = prepared(limited)
    limited.room_for(4)
    writer = limited.writer
    refused, newer, order = (
        large(deployment, 2),
        replace(deployment, revision=3),
        replace(deployment, revision=4),
    )
    writer.save_behind(refused, [notice("refused", refused)])
    under_way = writer._take()
    writer.save_behind(newer, [notice("newer", newer)])
    ordered = writer.submit(SaveDeployment(order), lambda saved: [notice("order", saved)])
    under_way.commit(limited.database, None, writer._recorder)
    writer._settle(under_way)
    writer._release(under_way)
    assert writer.unsaved(Deployment, deployment.id) == newer
    writer.write_group()
    assert done(ordered) == order
    assert writer.unsaved(Deployment, deployment.id) is None
    assert writer.write_group() is False
    assert limited.stored(deployment.id) == (4,)
    assert limited.heard.types == ["refused", "newer", "order"]


@pytest.mark.needs("the right to mount")
def test_the_log_alone_never_fills_a_small_disk(small_disk, no_leaks):
    store = Store.open(small_disk)
    deployment = make_deployment(store, make_app(store).id)
    for revision in range(2, 600):
        deployment = replace(deployment, revision=revision)
        assert done(store.commit(SaveDeployment(deployment))) == deployment
    assert sum(path.stat().st_size for path in small_disk.iterdir()) < SIZE // 2
    store.close()
