"""Records and operations for the store's tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from platformd.domain.build.orders import RequestBuild, Wanted
from platformd.domain.build.state import Build, Origin
from platformd.domain.deployment.state import Deployment
from platformd.domain.notice import Notice
from platformd.domain.operations import (
    CompleteArtifact,
    CreateApp,
    CreateArtifact,
    CreateDeployment,
    SaveTask,
)
from platformd.domain.snapshot import App, Artifact, Commit
from platformd.domain.source import BuildKind, Recipe, SetSource, Source
from platformd.domain.spec import DeploymentSpec, ProcessType
from platformd.domain.task import Task
from platformd.ids import new_id
from platformd.store import Store, building

AT = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
DOMAIN = "apps.test"
PATIENCE = 20.0


def done(future: Any) -> Any:
    return future.result(PATIENCE)


def make_app(store: Store, name: str = "web", namespace: str = "default", **rest: Any) -> App:
    return done(store.commit(CreateApp(name=name, namespace=namespace, domain=DOMAIN, at=AT, **rest)))


def make_artifact(store: Store, complete: bool = True) -> Artifact:
    artifact = done(
        store.commit(CreateArtifact(name="server", content_type="application/octet-stream", at=AT))
    )
    if not complete:
        return artifact
    return done(store.commit(CompleteArtifact(id=artifact.id, sha256="ab" * 32, size=7, at=AT)))


def commit_of(sha: str) -> Commit:
    return Commit(sha=sha, author="Ada <ada@example.com>", message="Say hello")


def creation(app_id: str, environment: str = "development", **rest: Any) -> CreateDeployment:
    rest.setdefault("spec", DeploymentSpec())
    rest.setdefault("at", AT)
    return CreateDeployment(app_id=app_id, environment=environment, domain=DOMAIN, steady=AT, **rest)


def make_deployment(store: Store, app_id: str, environment: str = "development", **rest: Any) -> Deployment:
    return done(store.commit(creation(app_id, environment, **rest)))


def task_of(deployment: Deployment, slot: int = 0, **rest: Any) -> Task:
    return Task(
        id=new_id(),
        deployment_id=deployment.id,
        app_id=deployment.identity.app_id,
        slot=slot,
        generation=1,
        created_at=AT,
        updated_at=AT,
        **rest,
    )


def make_task(store: Store, deployment: Deployment, slot: int = 0, **rest: Any) -> Task:
    return done(store.commit(SaveTask(task_of(deployment, slot, **rest))))


def source_of(app_id: str, **rest: Any) -> Source:
    rest.setdefault("repository", "octo/Hello")
    rest.setdefault("build", Recipe(kind=BuildKind.COMMAND, command="make", artifact_path="hello"))
    rest.setdefault("process_type", ProcessType.TISH)
    return Source(app_id=app_id, created_at=AT, updated_at=AT, **rest)


def make_source(store: Store, app_id: str, **rest: Any) -> Source:
    return done(store.commit(SetSource(source=source_of(app_id, **rest))))


def make_build(store: Store, app_id: str, *, at: datetime = AT, **rest: Any) -> Build:
    """A queued build; the app gets a source if it has none."""
    if building.source_of(store.reader, app_id) is None:
        make_source(store, app_id)
    rest.setdefault("environment", "development")
    rest.setdefault("origin", Origin.API)
    wanted = Wanted(app_id=app_id, **rest)
    return done(store.commit(RequestBuild(wanted=wanted, timeout_secs=900.0, at=at))).build


def raised(deployment: Deployment, **changes: Any) -> Deployment:
    """The next state of a deployment."""
    return replace(deployment, revision=deployment.revision + 1, **changes)


def notice(type: str, deployment: Deployment) -> Notice:
    return Notice(
        kind="deployment", type=type, app_id=deployment.identity.app_id, deployment_id=deployment.id
    )
