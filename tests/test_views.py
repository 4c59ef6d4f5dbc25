"""The API's objects, field by field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from platformd import clock
from platformd.domain.deployment.state import Goal, Member, Phase, Stage, Status
from platformd.domain.naming import Addresses
from platformd.domain.operations import SaveDeployment
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import (
    CpuPolicy,
    DeploymentSpec,
    Networking,
    ProcessType,
    Resources,
    Volume,
    WakePolicy,
)
from platformd.domain.task import TaskPhase
from platformd.errors import NotFound
from platformd.store import MemoryStore
from platformd.views import Load, Page, Usage, Views, timestamp
from tests.store.samples import (
    AT,
    commit_of,
    done,
    make_app,
    make_artifact,
    make_deployment,
    make_task,
    raised,
)

SHOWN_AT = "2026-03-04T05:06:07.890Z"


@pytest.fixture
def store():
    store = MemoryStore()
    yield store
    store.close()


@pytest.fixture
def views(store) -> Views:
    return Views(store, Addresses("http", "apps.test", 47000))


def as_json(value):
    """What a client reads."""
    return msgspec.json.decode(msgspec.json.encode(value))


def test_an_app(store, views):
    app = make_app(store, "My-Web", "team", description="d", labels={"a": "b"})
    expected = {
        "id": app.id,
        "name": "My-Web",
        "namespace": "team",
        "subdomain": "my-web-team",
        "description": "d",
        "labels": {"a": "b"},
        "default_deployment_spec": {},
        "created_at": SHOWN_AT,
        "updated_at": SHOWN_AT,
        "revision": 1,
    }
    assert as_json(views.app(app.id)) == as_json(views.app_by_key("team", "My-Web")) == expected


def test_a_new_deployment(store, views):
    app, artifact = make_app(store), make_artifact(store)
    spec = DeploymentSpec(artifact_id=artifact.id, replicas=2)
    deployment = make_deployment(store, app.id, "production", spec=spec, commit=commit_of("a1b2c3d4"))
    assert as_json(views.deployment(deployment.id)) == {
        "id": deployment.id,
        "sha": "a1b2c3d4",
        "app_id": app.id,
        "version": 1,
        "status": "pending",
        "phase": "starting",
        "reason": None,
        "spec": {
            "process_type": "tish",
            "artifact_id": artifact.id,
            "image": None,
            "command": None,
            "args": [],
            "user": None,
            "replicas": 2,
            "resources": {"cpu": "100m", "memory": "128Mi", "cpu_policy": "share"},
            "networking": {"port": None, "protocol": "http", "health_path": None, "health_check": None},
            "env": {},
            "volumes": [],
            "cold_start_enabled": True,
            "idle_timeout_secs": 300,
            "max_runtime_secs": None,
            "progress_deadline_secs": 600,
            "restart": {"policy": "on-failure", "max_attempts": 5, "window_secs": 60},
            "wake": {"timeout_secs": 60, "queue_limit": 1024, "concurrency": 0, "replicas": None},
            "autoscale": None,
            "keep_awake": None,
            "no_wake": [],
            "sleep": {"mode": "stop"},
            "stop": {"signal": "SIGTERM", "grace_secs": 10, "exclusive": False},
        },
        "tasks_ready": 0,
        "tasks_total": 2,
        "progress": 0,
        "environment_slug": "production",
        "preview_url": "http://web-a1b2c3d4-production.apps.test:47000",
        "current": False,
        "superseded_by": None,
        "idle_deadline": None,
        "awake_because": ["starting"],
        "keep_awake_until": None,
        "stale": False,
        "image_digest": None,
        "generation": 1,
        "observed_generation": 0,
        "created_at": SHOWN_AT,
        "commit": {"sha": "a1b2c3d4", "author": "Ada <ada@example.com>", "message": "Say hello"},
        "build_id": None,
        "updated_at": SHOWN_AT,
        "revision": 1,
        "links": {
            "self": f"/api/v1/deployments/{deployment.id}",
            "app": f"/api/v1/apps/{app.id}",
            "tasks": f"/api/v1/deployments/{deployment.id}/tasks",
            "logs": f"/api/v1/deployments/{deployment.id}/logs",
            "logs_stream": f"/api/v1/deployments/{deployment.id}/logs/stream",
        },
    }


def test_a_spec_far_from_the_defaults(store, views):
    spec = DeploymentSpec(
        process_type=ProcessType.DOCKER,
        image="nginx:latest",
        resources=Resources(cpu="0.5", memory="1G", cpu_policy=CpuPolicy.CAP),
        networking=Networking(
            port=8080, health_path="/health", health_interval_secs=2.5, health_timeout_secs=1.0
        ),
        env={"A": "b"},
        idle_timeout_secs=1.5,
        max_runtime_secs=3600.0,
        volumes=(Volume(host_path="/data", container_path="/app/data"),),
        command=("run",),
        args=("-v",),
        user="app",
        wake=WakePolicy(replicas=1),
    )
    shown = as_json(views.render_deployment(make_deployment(store, make_app(store).id, spec=spec)))["spec"]
    assert shown["resources"] == {"cpu": "0.5", "memory": "1G", "cpu_policy": "cap"}
    assert shown["networking"] == {
        "port": 8080,
        "protocol": "http",
        "health_path": "/health",
        "health_check": {"path": "/health", "interval": "2.5s", "timeout": "1s"},
    }
    assert (shown["idle_timeout_secs"], shown["max_runtime_secs"]) == (1.5, 3600)
    assert shown["volumes"] == [{"host_path": "/data", "container_path": "/app/data"}]
    assert (shown["command"], shown["args"], shown["user"]) == (["run"], ["-v"], "app")
    assert shown["wake"]["replicas"] == 1


def test_whole_seconds_have_no_fraction(store, views):
    text = msgspec.json.encode(views.render_deployment(make_deployment(store, make_app(store).id)))
    assert b".0," not in text
    assert b".0}" not in text


def test_a_reason_has_only_what_is_known(store, views):
    deployment = make_deployment(store, make_app(store).id)
    bare = raised(deployment, reason=Reason(code="SUPERSEDED", message="newer"))
    full = raised(
        deployment, reason=Reason(code="X", message="m", exit_code=0, signal="SIGKILL", last_lines=("a",))
    )
    assert views.render_deployment(bare)["reason"] == {"code": "SUPERSEDED", "message": "newer"}
    assert as_json(views.render_deployment(full)["reason"]) == {
        "code": "X",
        "message": "m",
        "exit_code": 0,
        "signal": "SIGKILL",
        "last_lines": ["a"],
    }


READY = Member(task_id="t", slot=0, generation=1, stage=Stage.READY, address=("127.0.0.1", 1))
RUNNING = {"status": Status.RUNNING, "phase": Phase.READY, "members": (READY,)}


@pytest.mark.parametrize(
    ("changes", "load", "because"),
    [
        (RUNNING | {"idle_deadline": AT}, None, ["recent_traffic"]),
        (RUNNING, Load(inflight=2), ["requests_in_flight"]),
        (RUNNING, Load(), []),
        ({"phase": Phase.WAKING}, Load(held=3), ["starting", "requests_held"]),
        (RUNNING | {"spec": DeploymentSpec(cold_start_enabled=False)}, None, ["cold_start_disabled"]),
        ({"phase": Phase.ASLEEP, "goal": Goal.ASLEEP}, Load(held=1), []),
        ({"phase": Phase.DONE, "goal": Goal.FINISHED}, None, []),
        ({"phase": Phase.DRAINING}, Load(inflight=1), ["draining", "requests_in_flight"]),
    ],
)
def test_why_it_is_awake(store, changes, load, because):
    views = Views(store, Addresses(), load=lambda _: load)
    deployment = raised(make_deployment(store, make_app(store).id), **changes)
    assert views.render_deployment(deployment)["awake_because"] == because


def test_asleep_wants_nothing_and_is_complete(store, views):
    deployment = make_deployment(store, make_app(store).id)
    asleep = raised(deployment, status=Status.RUNNING, phase=Phase.ASLEEP, goal=Goal.ASLEEP)
    shown = views.render_deployment(asleep)
    assert (shown["tasks_total"], shown["tasks_ready"], shown["progress"]) == (0, 0, 100)


def test_a_deadline_is_shown_on_the_wall_clock_and_stays_the_same(monkeypatch, store, views):
    deployment = replace(make_deployment(store, make_app(store).id), idle_deadline=AT)
    for drift in (timedelta(0), timedelta(milliseconds=3), timedelta(milliseconds=-400)):
        monkeypatch.setattr(clock, "now", lambda drift=drift: clock.steady() + drift)
        monkeypatch.setattr(clock, "steady", lambda: AT)
        assert views.render_deployment(deployment)["idle_deadline"] == SHOWN_AT
    monkeypatch.setattr(clock, "now", lambda: AT + timedelta(hours=1, milliseconds=7))
    assert views.render_deployment(deployment)["idle_deadline"] == "2026-03-04T06:06:07.890Z"


def test_a_task(store):
    deployment = make_deployment(store, make_app(store).id)
    views = Views(
        store,
        Addresses(),
        usage=lambda _: Usage(12.5, 4096),
        stale=lambda id: id == deployment.id,
        node_id="n1",
    )
    running = make_task(
        store,
        deployment,
        slot=2,
        phase=TaskPhase.RUNNING,
        address=("127.0.0.1", 20001),
        pid=77,
        started_at=AT,
        ready_at=AT,
        restarts=1,
    )
    assert as_json(views.task(running.id)) == {
        "id": running.id,
        "deployment_id": deployment.id,
        "app_id": deployment.identity.app_id,
        "node_id": "n1",
        "state": "running",
        "frozen": False,
        "stale": True,
        "slot": 2,
        "generation": 1,
        "published_port": 20001,
        "address": "127.0.0.1:20001",
        "pid": 77,
        "container_id": None,
        "exit_code": None,
        "signal": None,
        "oom_killed": False,
        "reason": None,
        "restarts": 1,
        "started_at": SHOWN_AT,
        "ready_at": SHOWN_AT,
        "ended_at": None,
        "cpu_percent": 12.5,
        "memory_bytes": 4096,
        "created_at": SHOWN_AT,
        "updated_at": SHOWN_AT,
        "revision": 1,
    }


def test_a_task_that_ended(store, views):
    deployment = make_deployment(store, make_app(store).id)
    ended = make_task(
        store,
        deployment,
        phase=TaskPhase.FAILED,
        exit=Exit(signal="SIGKILL", oom_killed=True),
        reason=Reason(code="OOM_KILLED", message="m"),
        ended_at=AT,
    )
    shown = views.task(ended.id)
    assert (shown["state"], shown["exit_code"], shown["signal"], shown["oom_killed"]) == (
        "failed",
        None,
        "SIGKILL",
        True,
    )
    assert (shown["address"], shown["published_port"], shown["cpu_percent"]) == (None, None, None)
    assert shown["reason"]["code"] == "OOM_KILLED"


def test_an_artifact_before_and_after_its_bytes(store, views):
    announced, complete = make_artifact(store, complete=False), make_artifact(store)
    assert as_json(views.artifact(announced.id)) == {
        "id": announced.id,
        "name": "server",
        "content_type": "application/octet-stream",
        "size": None,
        "sha256": None,
        "created_at": SHOWN_AT,
        "uploaded_at": None,
    }
    shown = views.artifact(complete.id)
    assert (shown["size"], shown["sha256"], shown["uploaded_at"]) == (7, "ab" * 32, SHOWN_AT)


def test_lists_come_in_the_envelope(store, views):
    app = make_app(store)
    made = [make_deployment(store, app.id) for _ in range(3)]
    task = make_task(store, made[0])
    make_artifact(store)
    page = views.deployments(Page(2, 2, "version", "asc"), app_id=app.id)
    assert {key: page[key] for key in ("total", "page", "page_size")} == {
        "total": 3,
        "page": 2,
        "page_size": 2,
    }
    assert [shown["id"] for shown in page["data"]] == [made[2].id]
    assert views.deployments(Page(), app_id="other")["total"] == 0
    assert views.apps(Page(), namespace="default")["data"] == [views.app(app.id)]
    assert views.apps(Page(), namespace="other")["data"] == []
    assert views.tasks(Page(), deployment_id=made[0].id, state="pending")["data"] == [views.task(task.id)]
    assert views.tasks(Page(), deployment_id=made[1].id)["data"] == []
    assert views.artifacts(Page())["total"] == 1


def test_the_cursor_list(store, views):
    app = make_app(store)
    made = [make_deployment(store, app.id) for _ in range(3)]
    first = views.deployments_of_app(app.id, page_size=2)
    assert [shown["version"] for shown in first["deployments"]] == [3, 2]
    assert first["next_page_token"] == "2"
    rest = views.deployments_of_app(app.id, 2, int(first["next_page_token"]))
    assert ([shown["id"] for shown in rest["deployments"]], rest["next_page_token"]) == ([made[0].id], None)


@pytest.mark.parametrize("noun", ["app", "deployment", "task", "artifact"])
def test_what_does_not_exist_is_named(views, noun):
    with pytest.raises(NotFound) as caught:
        getattr(views, noun)("nothing")
    assert caught.value.code == f"{noun.upper()}_NOT_FOUND"
    assert "nothing" in caught.value.message


def test_apps_that_do_not_exist_have_no_key_and_no_list(views):
    for ask in (lambda: views.app_by_key("default", "nothing"), lambda: views.deployments_of_app("nothing")):
        with pytest.raises(NotFound, match="nothing") as caught:
            ask()
        assert caught.value.code == "APP_NOT_FOUND"


def test_views_show_only_what_is_durable(store, views):
    deployment = make_deployment(store, make_app(store).id)
    store.held = True
    store.save_behind(raised(deployment, phase=Phase.READY))
    future = store.commit(SaveDeployment(raised(deployment, phase=Phase.DONE)))
    assert views.deployment(deployment.id)["revision"] == 1
    store.release()
    done(future)
    assert views.deployment(deployment.id)["phase"] == "done"


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00.000Z"),
        (datetime(2026, 1, 2, 1, 0, 0, 999_999, timezone(timedelta(hours=2))), "2026-01-01T23:00:00.999Z"),
    ],
)
def test_timestamps(at, text):
    assert timestamp(at) == text
