"""Sources and builds: what is written about them, and how they are found. Writes on the writer's thread."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from peewee import SqliteDatabase

from platformd.domain.build.orders import Delivered, DeployBuild, ForgetBuilds, RequestBuild
from platformd.domain.build.state import Build, Origin, Phase
from platformd.domain.deployment.state import Deployment
from platformd.domain.deployment.state import Phase as DeploymentPhase
from platformd.domain.operations import CreateDeployment
from platformd.domain.source import SECRETS, RemoveSource, SetSource, Source
from platformd.domain.spec import DeploymentSpec
from platformd.errors import Conflict, Fault, Invalid, NotFound
from platformd.ids import new_id
from platformd.store import configuring
from platformd.store.codec import encode, stamp
from platformd.store.deploying import create_deployment
from platformd.store.reader import Reader
from platformd.store.saves import save

_sources = msgspec.json.Decoder(Source)
_SOURCE = "SELECT snapshot FROM sources WHERE app_id = ?"
_SET = """
INSERT OR REPLACE INTO sources (app_id, repository, revision, updated_at, snapshot) VALUES (?, ?, ?, ?, ?)
"""
_HELD = "SELECT held_at FROM environments WHERE app_id = ? AND slug = ?"
_DEPLOYED = "SELECT deployment_id FROM builds WHERE id = ?"
_WAITING = f"""
SELECT id FROM deployments
WHERE app_id = ?1 AND environment = ?2 AND status = 'pending' AND phase = '{DeploymentPhase.WAITING_FOR_BUILD}'
  AND snapshot ->> '$.spec.process_type' = ?3
  AND NOT EXISTS (SELECT 1 FROM builds WHERE deployment_id = deployments.id AND live = 1)
ORDER BY version DESC LIMIT 1
"""
_OLD = """
SELECT id FROM builds
WHERE live = 0 AND updated_at < ? AND NOT EXISTS (SELECT 1 FROM deployments WHERE id = builds.deployment_id)
ORDER BY updated_at LIMIT ?
"""
_LIVE = "WHERE live = 1 ORDER BY created_at, id"
_QUEUED_BEFORE = """
WHERE app_id = ? AND state = 'queued' AND live = 1 AND environment = ? AND branch IS ?
  AND snapshot ->> '$.origin' = 'webhook' AND created_at <= ? AND id <> ?
"""
_NEWEST = """
WHERE app_id = ? AND state = 'succeeded' AND environment = ? ORDER BY created_at DESC, id DESC LIMIT 1
"""
_STANDS = """
SELECT id = ? AND status NOT IN ('failed', 'cancelled') FROM deployments
WHERE app_id = ? AND environment = ? ORDER BY version DESC LIMIT 1
"""
_GOOD = """
WHERE app_id = ?1 AND state = 'succeeded' AND (branch = ?2 OR snapshot ->> '$.ref' = ?2 OR commit_sha LIKE ?3)
ORDER BY created_at DESC, id DESC LIMIT 1
"""


# ---- sources -----------------------------------------------------------------------------------------------


def set_source(operation: SetSource, database: SqliteDatabase) -> Source:
    """See `SetSource`."""
    wanted = operation.source
    configuring.found_app(database, wanted.app_id)
    present = present_source(database, wanted.app_id)
    configuring.refuse_stale(operation.revision, present.revision if present else 0)
    changes: dict[str, Any] = {
        name: getattr(present, name, None) for name in SECRETS if name in operation.kept
    }
    missing = [name for name, value in changes.items() if value is None]
    if missing:
        faults = [Fault(f"/{name}", "there is none that could be kept; give the value") for name in missing]
        raise Invalid(f"there is no {missing[0]} that could be kept", faults=faults)
    if present is not None:
        changes |= {"created_at": present.created_at, "revision": present.revision + 1}
    source: Source = replace(wanted, **changes)
    key = (source.app_id, source.repository.lower(), source.revision, stamp(source.updated_at))
    database.execute_sql(_SET, (*key, encode(source).decode()))
    return source


def remove_source(operation: RemoveSource, database: SqliteDatabase) -> None:
    """See `RemoveSource`."""
    configuring.found_app(database, operation.app_id)
    present = present_source(database, operation.app_id)
    if present is None:
        raise NotFound(f"app {operation.app_id} has no source", code="SOURCE_NOT_FOUND")
    configuring.refuse_stale(operation.revision, present.revision)
    database.execute_sql("DELETE FROM sources WHERE app_id = ?", (operation.app_id,))


def source_of(reader: Reader, app_id: str) -> Source | None:
    row = reader.row(_SOURCE, app_id)
    return None if row is None else _sources.decode(row[0])


def sources_naming(reader: Reader, repository: str) -> list[Source]:
    """The sources of every app that name this repository ("owner/name", in any case)."""
    sql = "SELECT snapshot FROM sources WHERE repository = ? ORDER BY app_id"
    return [_sources.decode(text) for (text,) in reader.rows(sql, repository.lower())]


# ---- builds ------------------------------------------------------------------------------------------------


def request_build(operation: RequestBuild, database: SqliteDatabase) -> Delivered:
    """See `RequestBuild`."""
    wanted = operation.wanted
    app = configuring.found_app(database, wanted.app_id)
    source = present_source(database, app.id)
    if source is None:
        raise source_missing(app.id)
    waiting = None if operation.waiting is None else create_deployment(operation.waiting, database)
    build = Build(
        id=new_id(),
        app_id=app.id,
        app_name=app.name,
        environment=wanted.environment,
        origin=wanted.origin,
        repository=source.repository,
        branch=None if wanted.ref or wanted.upload else wanted.branch or source.branch,
        ref=wanted.ref,
        upload=wanted.upload,
        recipe=source.build,
        spec=wanted.spec,
        deployment_id=waiting.id if waiting else wanted.deployment_id,
        timeout_secs=operation.timeout_secs,
        created_at=operation.at,
        updated_at=operation.at,
    )
    save(database, build)
    return Delivered(build=build, made=waiting)


def deploy_build(operation: DeployBuild, database: SqliteDatabase) -> Delivered:
    """See `DeployBuild`."""
    build = operation.build
    (known,) = database.execute_sql(_DEPLOYED, (build.id,)).fetchone()
    made = None
    if build.spec is not None and known is None:
        made = _deployed(operation, build.spec, database)
        known = made.id
    elif known is None:
        place = (*build.place, build.recipe.kind.makes)
        found = database.execute_sql(_WAITING, place).fetchone()
        known = None if found is None else found[0]
    done = replace(
        build, deployment_id=known, phase=Phase.DONE, updated_at=operation.at, revision=build.revision + 1
    )
    save(database, done)
    return Delivered(build=done, made=made)


def forget_builds(operation: ForgetBuilds, database: SqliteDatabase) -> int:
    """See `ForgetBuilds`."""
    ids = encode(list(operation.ids)).decode()
    cursor = database.execute_sql(
        "DELETE FROM builds WHERE live = 0 AND id IN (SELECT value FROM json_each(?))", (ids,)
    )
    return int(cursor.rowcount)


def old_builds(reader: Reader, before: datetime, most: int) -> list[str]:
    """Ids of at most `most` builds that ended before `before` and whose deployment, if they had one, is gone."""
    return [id for (id,) in reader.rows(_OLD, stamp(before), most)]


def live_builds(reader: Reader) -> list[Build]:
    """Those that have not ended, oldest first."""
    return list(reader.all(Build, _LIVE))


def superseded_by(reader: Reader, build: Build) -> list[str]:
    """The queued builds of webhooks that are no use once `build` is there."""
    place = (build.app_id, build.environment, build.branch, stamp(build.created_at), build.id)
    return [found.id for found in reader.all(Build, _QUEUED_BEFORE, *place)]


def built_already(reader: Reader, build: Build, sha: str) -> Build | None:
    """The newest good build of the same place, if it is of this commit, made in the same way, and its deployment is
    the newest there and came to no harm: after a rollback the same commit is built again."""
    newest = next(reader.all(Build, _NEWEST, *build.place), None)
    if newest is None or newest.commit is None or newest.commit.sha != sha or newest.id == build.id:
        return None
    stands = reader.row(_STANDS, newest.deployment_id, *build.place)
    return newest if newest.recipe == build.recipe and stands is not None and stands[0] else None


def last_good_build(reader: Reader, app_id: str, ref: str) -> Build | None:
    """The newest that succeeded of a branch, tag or commit (8 digits of it at least)."""
    pattern = f"{ref}%" if len(ref) >= 8 and ref.isalnum() else ref
    return next(reader.all(Build, _GOOD, app_id, ref, pattern.lower()), None)


def builds_of_deployment(reader: Reader, deployment_id: str) -> list[Build]:
    """Newest first."""
    return list(reader.all(Build, "WHERE deployment_id = ? ORDER BY created_at DESC, id DESC", deployment_id))


def source_missing(app_id: str) -> Conflict:
    return Conflict(
        f"app {app_id} has no source to build; PUT /api/v1/apps/{app_id}/source says where it lies",
        code="SOURCE_NOT_CONFIGURED",
    )


def _deployed(operation: DeployBuild, spec: DeploymentSpec, database: SqliteDatabase) -> Deployment:
    build = operation.build
    held = database.execute_sql(_HELD, build.place).fetchone()
    if build.origin is Origin.WEBHOOK and held is not None and held[0] is not None:
        raise Conflict(
            f"environment {build.environment!r} was rolled back and is held: release it, then push or deploy again",
            code="ENVIRONMENT_HELD",
        )
    return create_deployment(
        CreateDeployment(
            app_id=build.app_id,
            environment=build.environment,
            spec=build.filled(spec),
            domain=operation.domain,
            at=operation.at,
            steady=operation.steady,
            commit=build.commit,
            build_id=build.id,
            digests=build.digests,
        ),
        database,
    )


def present_source(database: SqliteDatabase, app_id: str) -> Source | None:
    row = database.execute_sql(_SOURCE, (app_id,)).fetchone()
    return None if row is None else _sources.decode(row[0])
