"""How each operation is carried out, inside the writer's transaction and thread.

`apply` is the one entry; an operation raises `PlatformError` when it must not be, and the writer takes back whatever it
did until then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

from peewee import SqliteDatabase

from platformd import clock
from platformd.domain import commit_status, configuration, deliveries, naming, retention, source
from platformd.domain.build.orders import DeployBuild, ForgetBuilds, RequestBuild, SaveBuild
from platformd.domain.operations import (
    AddArtifact,
    AdoptDomain,
    ClaimCurrent,
    CompleteArtifact,
    CreateApp,
    CreateArtifact,
    CreateDeployment,
    ForgetEvents,
    Operation,
    ReleaseCurrent,
    ReleaseHold,
    Report,
    RollBack,
    SaveDeployment,
    SaveTask,
)
from platformd.domain.retries import ForgetAnswers, IfRevision, KeepAnswer, Once
from platformd.domain.snapshot import App, Artifact
from platformd.domain.token import CreateToken, RevokeToken, TokenUsed
from platformd.errors import Conflict, NotFound
from platformd.ids import new_id
from platformd.store import (
    building,
    commit_statuses,
    configuring,
    deploying,
    events,
    expiring,
    removing,
    retries,
    rolling_back,
    tokens,
    webhooks,
)
from platformd.store.codec import Decoding
from platformd.store.models import AnchorRow, ArtifactRow, HostRow
from platformd.store.saves import save

_SAME_NAME = "SELECT 1 FROM apps WHERE subdomain = ? OR (namespace = ? AND name = ?)"
_decoding = Decoding()


@dataclass(frozen=True, slots=True)
class SaveAnchor(Operation[None]):
    """Where steady time starts in this boot."""

    anchor: clock.Anchor


@singledispatch
def apply(operation: Operation[Any], database: SqliteDatabase) -> Any:
    """Carry out `operation`; its result."""
    raise TypeError(f"{type(operation).__name__} is no operation of {database}")


apply.register(CreateDeployment, deploying.create_deployment)
apply.register(ClaimCurrent, deploying.claim_current)
apply.register(ReleaseCurrent, deploying.release_current)
apply.register(RollBack, rolling_back.roll_back)
apply.register(ReleaseHold, rolling_back.release_hold)
apply.register(configuration.UpdateApp, configuring.update_app)
apply.register(configuration.ChangeVariables, configuring.change_variables)
apply.register(configuration.CreateEnvironment, configuring.create_environment)
apply.register(configuration.DeleteEnvironment, configuring.delete_environment)
apply.register(configuration.AddDomain, configuring.add_domain)
apply.register(configuration.RemoveDomain, configuring.remove_domain)
apply.register(configuration.SetRegistry, configuring.set_registry)
apply.register(configuration.BeginRemoval, removing.begin_removal)
apply.register(configuration.FinishRemoval, removing.finish_removal)
apply.register(configuration.DeleteArtifact, removing.delete_artifact)
apply.register(configuration.RemoveRegistry, configuring.remove_registry)
apply.register(CreateToken, tokens.create)
apply.register(RevokeToken, tokens.revoke)
apply.register(TokenUsed, tokens.used)
apply.register(retention.ForgetDeployments, expiring.forget_deployments)
apply.register(retention.ForgetTasks, expiring.forget_tasks)
apply.register(retention.ForgetArtifacts, expiring.forget_artifacts)
apply.register(source.SetSource, building.set_source)
apply.register(source.RemoveSource, building.remove_source)
apply.register(RequestBuild, building.request_build)
apply.register(DeployBuild, building.deploy_build)
apply.register(ForgetBuilds, building.forget_builds)
apply.register(deliveries.AcceptDelivery, webhooks.accept)
apply.register(deliveries.FinishPreview, webhooks.finish_preview)
apply.register(deliveries.ForgetDeliveries, webhooks.forget)
apply.register(commit_status.KeepSaid, commit_statuses.keep)
apply.register(KeepAnswer, retries.keep)
apply.register(ForgetAnswers, retries.forget)


@apply.register(Report)
def _(_operation: Report, _database: SqliteDatabase) -> None:
    """The writer stores the notices of any operation."""


@apply.register(Once)
def _(operation: Once[Any], database: SqliteDatabase) -> Any:
    return retries.once(operation, database, apply)


@apply.register(IfRevision)
def _(operation: IfRevision[Any], database: SqliteDatabase) -> Any:
    return retries.if_revision(operation, database, apply)


@apply.register
def _(operation: SaveDeployment | SaveTask | SaveBuild, database: SqliteDatabase) -> Any:
    save(database, operation.snapshot)
    if isinstance(operation, SaveDeployment) and operation.key is not None:
        retries.note(database, operation.key, operation.snapshot, clock.now())
    return operation.snapshot


@apply.register
def _(operation: CreateApp, database: SqliteDatabase) -> App:
    app = App(
        id=new_id(),
        name=operation.name,
        namespace=operation.namespace,
        subdomain=naming.subdomain(operation.name, operation.namespace),
        description=operation.description,
        labels=operation.labels,
        created_at=operation.at,
        updated_at=operation.at,
    )
    names = (app.subdomain, app.namespace, app.name)
    if database.execute_sql(_SAME_NAME, names).fetchone() is not None:
        raise _subdomain_taken(app, app.subdomain)
    save(database, app)
    for slug in configuring.FIRST_ENVIRONMENTS:
        label = deploying.add_environment(
            database, app.id, app.subdomain, slug, operation.domain, operation.at
        )
        if label is not None:
            raise _subdomain_taken(app, label)
    return app


@apply.register
def _(operation: CreateArtifact, database: SqliteDatabase) -> Artifact:
    artifact = Artifact(
        id=new_id(),
        name=operation.name,
        content_type=operation.content_type,
        app_id=operation.app_id,
        created_at=operation.at,
    )
    save(database, artifact)
    return artifact


@apply.register
def _(operation: CompleteArtifact, database: SqliteDatabase) -> Artifact:
    query = ArtifactRow.select(ArtifactRow.format, ArtifactRow.snapshot).where(ArtifactRow.id == operation.id)
    found = query.tuples().first(database)
    artifact = _decoding.decode(Artifact, operation.id, *found) if found else None
    if artifact is None:
        raise NotFound(f"there is no artifact {operation.id}", code="ARTIFACT_NOT_FOUND")
    if artifact.sha256 is not None:
        raise Conflict(
            f"artifact {artifact.id} has its bytes already (sha256 {artifact.sha256}); create another",
            code="ARTIFACT_COMPLETE",
        )
    complete: Artifact = replace(
        artifact, sha256=operation.sha256, size=operation.size, uploaded_at=operation.at
    )
    save(database, complete)
    return complete


@apply.register
def _(operation: AddArtifact, database: SqliteDatabase) -> Artifact:
    artifact = Artifact(
        id=new_id(),
        name=operation.name,
        content_type="application/octet-stream",
        app_id=operation.app_id,
        sha256=operation.sha256,
        size=operation.size,
        created_at=operation.at,
        uploaded_at=operation.at,
    )
    save(database, artifact)
    return artifact


@apply.register
def _(operation: SaveAnchor, database: SqliteDatabase) -> None:
    anchor = operation.anchor
    AnchorRow.replace(boot_id=anchor.boot_id, boot_ns=anchor.boot_ns, utc=anchor.utc.isoformat()).execute(
        database
    )


@apply.register
def _(operation: AdoptDomain, database: SqliteDatabase) -> int:
    hostname = HostRow.label.concat("." + operation.domain)
    kept = (HostRow.kind, HostRow.label, HostRow.app_id, HostRow.environment, HostRow.deployment_id)
    rows = HostRow.select(hostname, *kept).where(HostRow.kind != "custom").distinct()
    query = HostRow.insert_from(rows, (HostRow.hostname, *kept)).on_conflict_ignore()
    return int(query.as_rowcount().execute(database))


@apply.register
def _(operation: ForgetEvents, database: SqliteDatabase) -> int:
    return events.expire(database, operation.before, operation.most)


def _subdomain_taken(app: App, label: str) -> Conflict:
    return Conflict(
        f"app {app.name!r} in namespace {app.namespace!r} would be {label!r}, and that name is taken; "
        "choose another name or namespace",
        code="SUBDOMAIN_TAKEN",
    )
