"""What every store does, on disk or in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from freezegun import freeze_time

from platformd import clock
from platformd.domain.deployment.state import Deployment, Goal, Member, Phase, Stage, Status
from platformd.domain.notice import Notice
from platformd.domain.operations import (
    CompleteArtifact,
    Operation,
    SaveDeployment,
    SaveTask,
)
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import DeploymentSpec, Networking, ProcessType
from platformd.domain.task import TaskPhase
from platformd.errors import Conflict, Invalid, NotFound, Unavailable
from platformd.store import StoreFailed
from tests.store.samples import (
    AT,
    DOMAIN,
    commit_of,
    creation,
    done,
    make_app,
    make_artifact,
    make_deployment,
    make_task,
    notice,
    raised,
    task_of,
)
from tests.support import eventually

# ---- apps --------------------------------------------------------------------------------------------------


def test_an_app_comes_with_its_environments_and_their_addresses(store):
    app = make_app(store, "My-Web", description="hello", labels={"team": "a"})
    assert app.subdomain == "my-web-default"
    assert store.app(app.id) == app
    assert store.reader.app_by_key("default", "My-Web") == app
    assert store.reader.environments(app.id) == ["development", "production"]
    leads = {route.hostname: (route.environment, route.deployment_id) for route in store.routes()}
    assert leads == {
        f"my-web-default.{DOMAIN}": ("production", None),
        f"my-web-default-development.{DOMAIN}": ("development", None),
    }


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("web", "default"),
        ("Web", "default"),  # the same label
        ("web-default", "development"),  # an environment's address
    ],
)
def test_an_app_whose_name_is_taken_leaves_nothing(store, name, namespace):
    first = make_app(store)
    before = list(store.routes())
    with pytest.raises(Conflict) as caught:
        make_app(store, name, namespace)
    assert caught.value.code == "SUBDOMAIN_TAKEN"
    assert name in caught.value.message
    assert list(store.routes()) == before
    assert [app.id for app in store.reader.all(type(first))] == [first.id]


# ---- deployments -------------------------------------------------------------------------------------------


def test_a_deployment_is_pending_with_its_own_address_and_deadline(store):
    app, artifact = make_app(store), make_artifact(store)
    spec = DeploymentSpec(artifact_id=artifact.id, replicas=3, progress_deadline_secs=90)
    deployment = make_deployment(store, app.id, "production", spec=spec)
    assert (deployment.status, deployment.phase, deployment.goal) == (
        Status.PENDING,
        Phase.STARTING,
        Goal.AWAKE,
    )
    assert (deployment.target, deployment.full, deployment.identity.version) == (3, 3, 1)
    assert deployment.progress_deadline == AT + timedelta(seconds=90)
    assert len(deployment.identity.sha) == 8
    assert deployment.identity.preview_host == f"web-{deployment.identity.sha}-production.{DOMAIN}"
    assert store.reader.get(Deployment, deployment.id) == deployment
    assert store.awake_deployments() == [deployment.id]


def test_without_artifact_and_image_it_waits_for_a_build(store):
    deployment = make_deployment(store, make_app(store).id)
    assert deployment.phase is Phase.WAITING_FOR_BUILD
    assert deployment.progress_deadline is None
    image = DeploymentSpec(process_type=ProcessType.DOCKER, image="nginx")
    assert make_deployment(store, deployment.identity.app_id, spec=image).phase is Phase.STARTING


def test_zero_replicas_mean_one_once_woken(store):
    deployment = make_deployment(store, make_app(store).id, spec=DeploymentSpec(replicas=0))
    assert (deployment.target, deployment.status) == (1, Status.PENDING)


def test_with_zero_replicas_it_begins_asleep(store):
    artifact = make_artifact(store)
    made = make_deployment(
        store, make_app(store).id, spec=DeploymentSpec(artifact_id=artifact.id, replicas=0)
    )
    assert (made.status, made.phase, made.goal) == (Status.RUNNING, Phase.ASLEEP, Goal.ASLEEP)
    assert (made.observed_generation, made.progress_deadline) == (made.generation, None)
    assert made.id in store.contested(), "the address is still to be led there, after a crash, too"


def test_versions_have_no_gap_though_creations_fail_between(store):
    app, incomplete = make_app(store), make_artifact(store, complete=False)
    futures = []
    for n in range(30):
        spec = DeploymentSpec(artifact_id=incomplete.id if n % 3 else None)
        futures.append(store.commit(creation(app.id, spec=spec)))
    outcomes = [future.exception(20) or future.result().identity.version for future in futures]
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == list(range(1, 11))
    assert {outcome.code for outcome in outcomes if not isinstance(outcome, int)} == {"ARTIFACT_INCOMPLETE"}


def test_what_a_deployment_needs_is_checked(store):
    app = make_app(store)
    with pytest.raises(NotFound) as caught:
        make_deployment(store, "nobody")
    assert caught.value.code == "APP_NOT_FOUND"
    with pytest.raises(Invalid) as invalid:
        make_deployment(store, app.id, "fresh", spec=DeploymentSpec(artifact_id="nothing"))
    assert [fault.pointer for fault in invalid.value.faults] == ["/artifact_id"]
    assert "fresh" not in store.reader.environments(app.id)


def test_a_new_slug_makes_an_environment_with_an_address(store):
    app = make_app(store)
    make_deployment(store, app.id, "staging")
    assert "staging" in store.reader.environments(app.id)
    assert f"web-default-staging.{DOMAIN}" in {route.hostname for route in store.routes(app.id)}


def test_a_new_slug_whose_address_is_taken_is_refused(store):
    app = make_app(store)
    make_app(store, "web-default", "staging")
    with pytest.raises(Conflict) as caught:
        make_deployment(store, app.id, "staging")
    assert caught.value.code == "HOSTNAME_TAKEN"
    assert make_deployment(store, app.id).identity.version == 1


def test_the_same_commit_again_gets_the_version_into_its_name(store):
    apps = [make_app(store, namespace=namespace) for namespace in ("a", "b", "c")]
    commit = commit_of("ABCDEF0123456789")
    hosts = [make_deployment(store, app.id, commit=commit).identity.preview_host for app in apps]
    hosts.append(make_deployment(store, apps[0].id, commit=commit).identity.preview_host)
    assert hosts == [
        f"web-abcdef01-development.{DOMAIN}",
        f"web-abcdef01-v1-development.{DOMAIN}",
        f"web-abcdef01-v1-2-development.{DOMAIN}",
        f"web-abcdef01-v2-development.{DOMAIN}",
    ]


def test_a_digest_makes_different_versions_different(store):
    app = make_app(store)
    shas = {make_deployment(store, app.id).identity.sha for _ in range(20)}
    assert len(shas) == 20


# ---- snapshots ---------------------------------------------------------------------------------------------


def test_a_whole_snapshot_comes_back_as_it_was(store):
    deployment = make_deployment(store, make_app(store).id)
    full = raised(
        deployment,
        spec=DeploymentSpec(
            env={"NUL": "a\x00b", "TEXT": "ü 'quoted' \"twice\" \\ \n \U0001f600"},
            networking=Networking(port=8080, health_path="/h"),
            args=("-x", ""),
        ),
        reason=Reason(code="X", message="y", exit_code=3, last_lines=("one", "two")),
        members=(
            Member(task_id="t", slot=1, generation=2, stage=Stage.READY, address=("::1", 80), ready_at=AT),
        ),
        resting=frozenset({3, 4}),
        restarts={0: 2, 7: 1},
        failures=(AT, AT.replace(microsecond=0)),
        idle_deadline=AT,
    )
    task = task_of(
        deployment, exit=Exit(signal="SIGKILL", oom_killed=True), handle={"v": 1, "port": [1, None]}
    )
    assert done(store.commit(SaveDeployment(full))) == full
    assert done(store.commit(SaveTask(task))) == task
    assert store.reader.get(Deployment, full.id) == full
    assert store.task(task.id) == task


def test_columns_follow_the_snapshot(store):
    deployment = make_deployment(store, make_app(store).id)
    task = make_task(store, deployment)
    assert store.awake_deployments() == [deployment.id]
    assert store.live_tasks() == [task]
    asleep = raised(deployment, status=Status.RUNNING, phase=Phase.ASLEEP, goal=Goal.ASLEEP)
    ended = replace(task, phase=TaskPhase.STOPPED, revision=2, ended_at=AT)
    done(store.commit(SaveDeployment(asleep)))
    done(store.commit(SaveTask(ended)))
    assert store.awake_deployments() == []
    assert store.live_tasks() == []
    assert store.tasks_of(deployment.id, live_only=True) == []
    assert store.tasks_of(deployment.id) == [ended]
    row = store.reader.row("SELECT status, phase, revision FROM deployments WHERE id = ?", deployment.id)
    assert row == ("running", "asleep", 2)


def test_save_behind_keeps_the_newest_state_and_every_notice(store, heard):
    deployment = make_deployment(store, make_app(store).id)
    states = [replace(deployment, revision=n) for n in range(2, 102)]
    for state in states:
        store.save_behind(state, [notice(f"deployment.{state.revision}", state)])
    assert store.deployment(deployment.id) == states[-1]
    eventually(lambda: store.is_saved(deployment.id) and len(heard.types) == 100)
    assert store.reader.get(Deployment, deployment.id) == states[-1]
    assert heard.types == [f"deployment.{n}" for n in range(2, 102)]
    assert heard.revisions[-1] == (("deployment", deployment.id), 101)


def test_a_commit_covers_what_was_saved_behind_before_it(store, heard):
    deployment = make_deployment(store, make_app(store).id)
    behind, ordered, later = (replace(deployment, revision=n) for n in (2, 3, 4))
    store.save_behind(behind, [notice("behind", deployment)])
    future = store.commit(SaveDeployment(ordered), lambda saved: [notice(f"ordered.{saved.revision}", saved)])
    store.save_behind(later, [notice("later", deployment)])
    assert done(future) == ordered
    eventually(lambda: store.is_saved(deployment.id) and len(heard.types) == 3)
    assert heard.types == ["behind", "ordered.3", "later"]
    assert store.reader.get(Deployment, deployment.id) == later


def test_tasks_of_sees_what_is_not_durable_yet(memory_store):
    deployment = make_deployment(memory_store, make_app(memory_store).id)
    old = make_task(memory_store, deployment)
    memory_store.held = True
    new = task_of(deployment, 1)
    memory_store.save_behind(new)
    memory_store.save_behind(replace(old, phase=TaskPhase.FAILED))
    assert memory_store.tasks_of(deployment.id, live_only=True) == [new]
    assert not memory_store.is_saved(new.id)
    assert memory_store.reader.tasks_of(deployment.id, False) == [old]
    memory_store.release()
    assert memory_store.is_saved(new.id)


def test_a_frozen_clock_can_be_stored(store):
    with freeze_time("2026-01-02T03:04:05Z"):
        app = make_app(store, labels={})
        deployment = make_deployment(store, app.id, at=clock.now())
        assert store.deployment(deployment.id) == deployment
        sql = "SELECT created_at FROM deployments WHERE id = ?"
        assert store.reader.row(sql, deployment.id) == ("2026-01-02T03:04:05",)


# ---- notices and answers -----------------------------------------------------------------------------------


def test_notices_are_published_before_the_answer_and_in_commit_order(store, heard):
    deployment = make_deployment(store, make_app(store).id)
    published_at_answer = []
    futures = []
    for n in range(2, 60):
        future = store.commit(
            SaveDeployment(replace(deployment, revision=n)),
            lambda saved: [notice(f"{saved.revision}", saved)],
        )
        future.add_done_callback(
            lambda done: published_at_answer.append(f"{done.result().revision}" in heard.types)
        )
        futures.append(future)
    for future in futures:
        done(future)
    eventually(lambda: len(published_at_answer) == 58)
    assert all(published_at_answer)
    assert heard.types == [str(n) for n in range(2, 60)]


def test_a_failed_operation_publishes_nothing(store, heard):
    before = list(heard.revisions)
    with pytest.raises(NotFound):
        done(store.commit(creation("nobody"), lambda made: [notice("made", made)]))
    assert (heard.types, heard.revisions) == ([], before)


def test_what_breaks_in_callbacks_breaks_nothing_else(store):
    def broken(_result: object) -> list[Notice]:
        raise RuntimeError("no notices today")

    app = make_app(store)
    made = done(store.commit(creation(app.id), broken))
    store._writer._publish = broken
    assert make_deployment(store, app.id).identity.version == made.identity.version + 1


def test_an_operation_nobody_knows_fails_alone(store):
    class Unheard(Operation[None]):
        pass

    app = make_app(store)
    futures = [store.commit(creation(app.id)), store.commit(Unheard()), store.commit(creation(app.id))]
    assert [futures[0].result(20).identity.version, futures[2].result(20).identity.version] == [1, 2]
    assert isinstance(futures[1].exception(20), StoreFailed)


def test_a_snapshot_that_cannot_be_stored_keeps_no_other_from_it(store):
    deployment = make_deployment(store, make_app(store).id)
    poison = replace(task_of(deployment), handle={"socket": object()})
    good = [task_of(deployment, slot) for slot in range(1, 4)]
    store.save_behind(poison)
    for task in good:
        store.save_behind(task)
    eventually(lambda: all(store.is_saved(task.id) for task in (poison, *good)))
    assert {task.id for task in store.live_tasks()} == {task.id for task in good}


def test_a_closed_store_says_so(store):
    app = make_app(store)
    store.close()
    with pytest.raises(Unavailable):
        done(store.commit(creation(app.id)))


# ---- rows that cannot be read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "snapshot = '{'",
        "snapshot = '{}'",
        "snapshot = json_set(snapshot, '$.status', 'no such status')",
        "snapshot = json_set(snapshot, '$.revision', 'many')",
        "format = 99",
        "snapshot = x'ff00'",
        "snapshot = CAST(x'7b22ff223a317d' AS TEXT)",
    ],
)
def test_an_unreadable_row_is_left_alone_and_hides_no_other(store, damage):
    app = make_app(store)
    bad, good = make_deployment(store, app.id), make_deployment(store, app.id)
    store._writer._database.execute_sql(f"UPDATE deployments SET {damage} WHERE id = ?", (bad.id,))
    assert store.deployment(bad.id) is None
    assert list(store.deployments()) == [good]
    assert store.reader.row("SELECT count(*) FROM deployments") == (2,)


# ---- the rest ----------------------------------------------------------------------------------------------


def test_an_artifact_gets_its_bytes_once(store):
    artifact = make_artifact(store)
    assert store.artifact(artifact.id) == artifact
    with pytest.raises(Conflict) as caught:
        done(store.commit(CompleteArtifact(id=artifact.id, sha256="cd" * 32, size=1, at=AT)))
    assert caught.value.code == "ARTIFACT_COMPLETE"
    with pytest.raises(NotFound) as missing:
        done(store.commit(CompleteArtifact(id="nothing", sha256="cd" * 32, size=1, at=AT)))
    assert missing.value.code == "ARTIFACT_NOT_FOUND"


def test_the_anchor_of_a_boot_is_kept(store):
    assert store.anchor() is None
    anchor = clock.new_anchor()
    store.save_anchor(anchor)
    assert store.anchor() == anchor
    assert store.anchor("another boot") is None
