"""What is old enough to be forgotten, and what is not."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest

from platformd.domain.build.orders import SaveBuild
from platformd.domain.configuration import UpdateApp
from platformd.domain.deployment.state import Deployment, Goal, Phase, Status
from platformd.domain.operations import ClaimCurrent, SaveDeployment, SaveTask
from platformd.domain.retention import ForgetArtifacts, ForgetDeployments, ForgetTasks
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task import TaskPhase
from platformd.store import Store
from platformd.store.expiring import known_bytes, known_uploads, old_deployments, writers_since
from tests.store.samples import AT, done, make_app, make_artifact, make_build, make_deployment, task_of

MONTH = timedelta(days=30)
LATER = AT + MONTH + timedelta(seconds=1)


def finished(store: Store, app_id: str, ready: bool = False, **rest) -> Deployment:
    made = make_deployment(store, app_id, **rest)
    over = replace(
        made, status=Status.CANCELLED, phase=Phase.DONE, goal=Goal.FINISHED, ever_ready=ready, revision=2
    )
    return done(store.commit(SaveDeployment(over)))


def old(store: Store, keep: int = 0, most: int = 99) -> list[str]:
    return old_deployments(store.reader, LATER - MONTH, keep, most)


def test_finished_ones_are_old_after_a_month(store: Store) -> None:
    app = make_app(store)
    gone, living = finished(store, app.id), make_deployment(store, app.id)
    assert old_deployments(store.reader, AT, 0, 99) == []
    assert old(store) == [gone.id]
    assert living.id not in old(store)


def test_the_newest_that_were_ready_stay_for_rollbacks(store: Store) -> None:
    app = make_app(store)
    first, second, third = (finished(store, app.id, ready=True) for _ in range(3))
    failed = finished(store, app.id)
    elsewhere = finished(store, app.id, ready=True, environment="production")
    assert set(old(store, keep=2)) == {failed.id, first.id}
    assert set(old(store)) == {first.id, second.id, third.id, failed.id, elsewhere.id}


def test_the_current_one_and_one_with_a_task_stay(store: Store) -> None:
    app = make_app(store)
    current, busy = finished(store, app.id), finished(store, app.id)
    claim = ClaimCurrent(deployment_id=current.id, app_id=app.id, environment="development", version=1)
    assert done(store.commit(claim)).won
    done(store.commit(SaveTask(task_of(busy))))
    assert old(store) == []
    assert done(store.commit(ForgetDeployments([current.id]))) == ()
    assert store.deployment(current.id) is not None


def test_tasks_and_addresses_go_with_a_deployment(store: Store) -> None:
    app = make_app(store)
    gone, living = finished(store, app.id), make_deployment(store, app.id)
    ended = replace(task_of(gone), phase=TaskPhase.STOPPED)
    done(store.commit(SaveTask(ended)))
    hostnames = done(store.commit(ForgetDeployments([gone.id, living.id])))
    assert hostnames == (gone.identity.preview_host,)
    assert store.deployment(gone.id) is None and store.task(ended.id) is None
    assert not store.is_taken(hostnames[0])
    assert store.deployment(living.id) == living
    assert make_deployment(store, app.id).identity.version == 3, "numbers are never given twice"


def test_ended_tasks_of_what_lives_are_old_after_a_month(store: Store) -> None:
    deployment = make_deployment(store, make_app(store).id)
    ended, living = (done(store.commit(SaveTask(task_of(deployment)))) for _ in range(2))
    done(store.commit(SaveTask(replace(ended, phase=TaskPhase.FAILED, revision=2))))
    assert done(store.commit(ForgetTasks(before=AT, most=9))) == 0
    assert done(store.commit(ForgetTasks(before=LATER, most=9))) == 1
    assert store.task(ended.id) is None and store.task(living.id) == living


def test_trees_that_were_sent_are_known_by_their_builds_whose_output_is_kept(store: Store) -> None:
    app = make_app(store)
    build = make_build(store, app.id, upload="cd" * 32)
    assert known_uploads(store.reader) == {"cd" * 32}
    assert build.id in writers_since(store.reader, LATER)


@pytest.mark.parametrize("needed_by", ["deployment", "finished deployment", "build", "default", "nobody"])
def test_artifacts_that_somebody_names_stay(store: Store, needed_by: str) -> None:
    app, artifact = make_app(store), make_artifact(store)
    spec = DeploymentSpec(artifact_id=artifact.id)
    if needed_by == "deployment":
        make_deployment(store, app.id, spec=spec)
    elif needed_by == "finished deployment":
        finished(store, app.id, spec=spec)
    elif needed_by == "build":
        build = replace(make_build(store, app.id), artifact_id=artifact.id, revision=2)
        done(store.commit(SaveBuild(build)))
    elif needed_by == "default":
        changes = {"default_deployment_spec": {"artifact_id": artifact.id}}
        done(store.commit(UpdateApp(app_id=app.id, changes=changes, at=AT)))
    assert done(store.commit(ForgetArtifacts(before=AT, most=9))) == 0
    assert done(store.commit(ForgetArtifacts(before=LATER, most=9))) == (needed_by == "nobody")
    assert set(known_bytes(store.reader)) == (set() if needed_by == "nobody" else {"ab" * 32})


def test_it_goes_in_portions(store: Store) -> None:
    app = make_app(store)
    ids = {finished(store, app.id).id for _ in range(5)}
    assert len(old(store, most=3)) == 3
    done(store.commit(ForgetDeployments(old(store, most=3))))
    assert len(ids & set(old(store))) == 2


def test_who_still_writes(store: Store) -> None:
    app = make_app(store)
    living, over = make_deployment(store, app.id), finished(store, app.id)
    task = done(store.commit(SaveTask(task_of(living))))
    ended = done(store.commit(SaveTask(replace(task_of(over), phase=TaskPhase.STOPPED))))
    assert writers_since(store.reader, AT) == {living.id, over.id, task.id, ended.id}
    assert writers_since(store.reader, LATER) == {living.id, task.id}


def test_a_row_that_cannot_be_read_is_left_alone(file_store: Store, tmp_path) -> None:
    app = make_app(file_store)
    broken = finished(file_store, app.id)
    with sqlite3.connect(tmp_path / "platformd.db") as database:
        database.execute("UPDATE deployments SET snapshot = 'no json' WHERE id = ?", (broken.id,))
    database.close()
    assert old(file_store) == []
