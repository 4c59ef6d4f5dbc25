"""Creating deployments and deciding which one an environment's address leads to. The writer's thread only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from peewee import SqliteDatabase

from platformd.domain import naming
from platformd.domain.deployment.state import Deployment, Goal, Identity, Phase, Status
from platformd.domain.operations import Claim, ClaimCurrent, CreateDeployment, ReleaseCurrent
from platformd.domain.snapshot import Commit
from platformd.domain.spec import DeploymentSpec
from platformd.domain.variables import Variable, merged, without_secrets
from platformd.errors import Conflict, Fault, Invalid, NotFound
from platformd.ids import new_id
from platformd.store.codec import encode, stamp
from platformd.store.saves import save

PRODUCTION = "production"
_variables = msgspec.json.Decoder(dict[str, Variable])
_digests = msgspec.json.Decoder(dict[str, str])
_commit = msgspec.json.Decoder(Commit | None)

# One statement for all there is to know: each one is a chance to lose the interpreter to another thread for a while.
_NEXT_VERSION = """
UPDATE apps SET versions = versions + 1
WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM removals WHERE app_id = ?1)
RETURNING versions, name, namespace, subdomain,
          EXISTS (SELECT 1 FROM environments WHERE app_id = ?1 AND slug = ?2),
          EXISTS (SELECT 1 FROM artifacts WHERE id = ?3),
          (SELECT sha256 FROM artifacts WHERE id = ?3),
          (SELECT snapshot FROM variables WHERE app_id = ?1 AND environment = ''),
          (SELECT snapshot FROM variables WHERE app_id = ?1 AND environment = ?2),
          EXISTS (SELECT 1 FROM environments WHERE app_id = ?1 AND slug = ?2 AND pull_request IS NOT NULL)
"""
_NEW_HOST = """
INSERT INTO hosts (hostname, kind, label, app_id, environment, deployment_id) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
_NEW_ENVIRONMENT = """
INSERT INTO environments (app_id, slug, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING
"""
_SOURCE = """
SELECT s.phase, s.snapshot ->> '$.ever_ready', s.snapshot -> '$.digests', s.snapshot -> '$.commit',
       s.snapshot ->> '$.build_id',
       (SELECT d.phase FROM environments e JOIN deployments d ON d.id = e.current_deployment
        WHERE e.app_id = ?2 AND e.slug = ?3)
FROM deployments s WHERE s.id = ?1
"""
# What cannot sleep ends by itself once it is superseded and takes nobody's place.
_RETIRED = """
SELECT id FROM deployments
WHERE app_id = ? AND environment = ? AND status = ? AND version < ?
  AND CASE WHEN json_valid(snapshot) THEN snapshot ->> '$.spec.cold_start_enabled' END
  AND snapshot ->> '$.spec.networking.protocol' <> 'none'
ORDER BY version DESC LIMIT -1 OFFSET ?
"""
_ENVIRONMENT = "SELECT current_deployment, current_version FROM environments WHERE app_id = ? AND slug = ?"
_CLAIM = """
UPDATE environments SET current_deployment = ?, current_version = ?
WHERE app_id = ? AND slug = ? AND (current_version IS NULL OR current_version <= ?)
"""
_OLDER_PENDING = """
SELECT id FROM deployments WHERE app_id = ? AND environment = ? AND status = ? AND version < ? ORDER BY version
"""
_RELEASE = """
UPDATE environments SET current_deployment = NULL WHERE app_id = ? AND slug = ? AND current_deployment = ?
"""


class _Origin(NamedTuple):
    """What a new deployment comes from: does it begin asleep as that does, what its images mean, and
    what it was built from."""

    asleep: bool
    digests: Mapping[str, str]
    commit: Commit | None
    build_id: str | None


def create_deployment(operation: CreateDeployment, database: SqliteDatabase) -> Deployment:
    """See `CreateDeployment`."""
    app_id, slug, spec = operation.app_id, operation.environment, operation.spec
    row = database.execute_sql(_NEXT_VERSION, (app_id, slug, spec.artifact_id)).fetchone()
    if row is None:
        raise no_app(app_id)
    version, name, namespace, subdomain, has_environment, has_artifact, sha256, *variables = row
    if spec.artifact_id is not None:
        _check_artifact(spec.artifact_id, has_artifact, sha256)
    if not has_environment:
        _add_environment(database, operation, subdomain)
    id = new_id()
    origin = _origin_of(database, operation)
    commit = origin.commit
    sha = naming.deployment_sha(app_id, version, encode(spec), commit.sha if commit else None)
    host = _take_preview_host(database, operation, name=name, sha=sha, version=version, deployment_id=id)
    waits = spec.artifact_id is None and spec.image is None
    wanted = spec.awake_replicas
    deployment = Deployment(
        identity=Identity(
            id=id,
            app_id=app_id,
            app_name=name,
            namespace=namespace,
            environment=slug,
            version=version,
            sha=sha,
            preview_host=host,
            created_at=operation.at,
        ),
        spec=spec,
        resolved_env=_resolved(operation, *variables),
        precedence=operation.precedence,
        promoted_from=operation.promoted_from,
        digests=origin.digests,
        commit=commit,
        build_id=origin.build_id,
        status=Status.PENDING,
        phase=Phase.WAITING_FOR_BUILD if waits else Phase.STARTING,
        full=wanted,
        target=wanted,
        progress_deadline=None if waits else operation.steady + _progress(spec),
        updated_at=operation.at,
    )
    if origin.asleep or (spec.replicas == 0 and not waits):
        deployment = replace(
            deployment,
            status=Status.RUNNING,
            phase=Phase.ASLEEP,
            goal=Goal.ASLEEP,
            observed_generation=1,
            progress_deadline=None,
        )
    save(database, deployment)
    return deployment


def _origin_of(database: SqliteDatabase, operation: CreateDeployment) -> _Origin:
    """Asleep begins what has been ready where nobody is awake: the address it comes to sleeps, or leads nowhere and
    what it is promoted from sleeps."""
    if operation.promoted_from is None:
        return _Origin(False, operation.digests, operation.commit, operation.build_id)
    place = (operation.promoted_from, operation.app_id, operation.environment)
    source, proven, digests, commit, build_id, current = database.execute_sql(_SOURCE, place).fetchone()
    asleep = operation.spec.sleeps and bool(proven) and (current or source) == Phase.ASLEEP
    return _Origin(asleep, _digests.decode(digests or "{}"), _commit.decode(commit or "null"), build_id)


def add_environment(
    database: SqliteDatabase, app_id: str, subdomain: str, slug: str, domain: str, at: datetime
) -> str | None:
    """Make the environment with its address unless it is there; the label that is in the way, if one is."""
    if not database.execute_sql(_NEW_ENVIRONMENT, (app_id, slug, stamp(at))).rowcount:
        return None
    label = subdomain if slug == PRODUCTION else naming.environment_label(subdomain, slug)
    host = (f"{label}.{domain}", "environment", label, app_id, slug, None)
    return None if database.execute_sql(_NEW_HOST, host).rowcount else label


def claim_current(operation: ClaimCurrent, database: SqliteDatabase) -> Claim:
    """See `ClaimCurrent`."""
    key = (operation.app_id, operation.environment)
    row = database.execute_sql(_ENVIRONMENT, key).fetchone()
    if row is None:
        raise NotFound(
            f"app {operation.app_id} has no environment {operation.environment!r}",
            code="ENVIRONMENT_NOT_FOUND",
        )
    previous, version = row
    claim = (operation.deployment_id, operation.version, *key, operation.version)
    won = bool(database.execute_sql(_CLAIM, claim).rowcount)
    beyond = (*key, Status.RUNNING, operation.version, operation.keep)
    retired = database.execute_sql(_RETIRED, beyond).fetchall() if won else []
    older = database.execute_sql(_OLDER_PENDING, (*key, Status.PENDING, operation.version)).fetchall()
    return Claim(
        won=won,
        current=operation.deployment_id if won else previous,
        current_version=operation.version if won else version,
        previous=previous,
        older_pending=tuple(id for (id,) in older),
        retired=tuple(id for (id,) in retired),
    )


def release_current(operation: ReleaseCurrent, database: SqliteDatabase) -> bool:
    """See `ReleaseCurrent`."""
    values = (operation.app_id, operation.environment, operation.deployment_id)
    return bool(database.execute_sql(_RELEASE, values).rowcount)


def hostname_taken(slug: str, label: str) -> Conflict:
    return Conflict(
        f"environment {slug!r} would be {label!r}, and that name is taken; choose another slug",
        code="HOSTNAME_TAKEN",
    )


def no_app(app_id: str) -> NotFound:
    return NotFound(f"there is no app {app_id}", code="APP_NOT_FOUND")


def decode_variables(text: str | None) -> dict[str, Variable]:
    """Variables as their columns hold them; none for a null."""
    return _variables.decode(text) if text and text != "null" else {}


def inherited_variables(app: Mapping[str, Variable], is_preview: bool) -> Mapping[str, Variable]:
    """Those of an app as one of its environments sees them: code of a pull request sees none of its secrets."""
    return without_secrets(app) if is_preview else app


def _resolved(
    operation: CreateDeployment, app: str | None, environment: str | None, is_preview: int
) -> Mapping[str, Variable] | None:
    """What the deployment's tasks will see; None when that is nothing but its own variables."""
    if app is None and environment is None:
        return None
    inherited = inherited_variables(decode_variables(app), bool(is_preview))
    return merged(inherited, decode_variables(environment), operation.spec.env, operation.precedence)


def _progress(spec: DeploymentSpec) -> timedelta:
    return timedelta(seconds=spec.progress_deadline_secs)


def _check_artifact(artifact_id: str, exists: bool, sha256: str | None) -> None:
    if not exists:
        message = f"there is no artifact {artifact_id}; POST /api/v1/artifacts makes one"
        raise Invalid(message, faults=[Fault("/artifact_id", message)])
    if sha256 is None:
        raise Conflict(
            f"artifact {artifact_id} has no bytes yet; upload them to /api/v1/artifacts/{artifact_id}/upload",
            code="ARTIFACT_INCOMPLETE",
        )


def _add_environment(database: SqliteDatabase, operation: CreateDeployment, subdomain: str) -> None:
    slug = operation.environment
    taken = add_environment(database, operation.app_id, subdomain, slug, operation.domain, operation.at)
    if taken is not None:
        raise hostname_taken(slug, taken)


def _take_preview_host(
    database: SqliteDatabase,
    operation: CreateDeployment,
    *,
    name: str,
    sha: str,
    version: int,
    deployment_id: str,
) -> str:
    """The best hostname that was free; it is this deployment's from now on."""
    slug = operation.environment
    for label in naming.preview_labels(name, sha, slug, version):
        host = f"{label}.{operation.domain}"
        values = (host, "preview", label, operation.app_id, slug, deployment_id)
        if database.execute_sql(_NEW_HOST, values).rowcount:
            return host
    raise AssertionError("unreachable: there are endlessly many labels")
