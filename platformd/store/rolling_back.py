"""Back to an earlier version: which one, what is left behind, and the hold until somebody releases it.

The writer's thread only.
"""

from __future__ import annotations

import json
from typing import Any

from peewee import SqliteDatabase

from platformd.domain.deployment.state import Deployment
from platformd.domain.operations import CreateDeployment, ReleaseHold, RollBack
from platformd.errors import Conflict, NotFound
from platformd.store.codec import Decoding, stamp
from platformd.store.deploying import create_deployment

_ENVIRONMENT = "SELECT current_version, rolled_back FROM environments WHERE app_id = ? AND slug = ?"
_VERSIONS = """
SELECT id, version, snapshot ->> '$.promoted_from', snapshot ->> '$.ever_ready' FROM deployments
WHERE app_id = ? AND environment = ? AND json_valid(snapshot) ORDER BY version DESC
"""
_SNAPSHOT = "SELECT id, format, snapshot FROM deployments WHERE id = ?"
_HOLD = "UPDATE environments SET held_at = ?, rolled_back = ? WHERE app_id = ? AND slug = ?"
_RELEASE = "UPDATE environments SET held_at = NULL WHERE app_id = ? AND slug = ? AND held_at IS NOT NULL"
_decoding = Decoding()


def roll_back(operation: RollBack, database: SqliteDatabase) -> Deployment:
    """See `RollBack`."""
    key = (operation.app_id, operation.environment)
    current, before = _environment(database, key)
    versions = database.execute_sql(_VERSIONS, key).fetchall() if current is not None else []
    left = set(json.loads(before or "[]")) | _left_behind(versions, current or 0)
    target = _newest_good(database, versions, current or 0, left)
    made = create_deployment(
        CreateDeployment(
            app_id=operation.app_id,
            environment=operation.environment,
            spec=(target.good_design or target.design).spec,
            domain=operation.domain,
            at=operation.at,
            steady=operation.steady,
            promoted_from=target.id,
        ),
        database,
    )
    database.execute_sql(_HOLD, (stamp(operation.at), json.dumps(sorted(left)), *key))
    return made


def release_hold(operation: ReleaseHold, database: SqliteDatabase) -> bool:
    """See `ReleaseHold`."""
    key = (operation.app_id, operation.environment)
    _environment(database, key)
    return bool(database.execute_sql(_RELEASE, key).rowcount)


def _environment(database: SqliteDatabase, key: tuple[str, str]) -> Any:
    row = database.execute_sql(_ENVIRONMENT, key).fetchone()
    if row is None:
        raise NotFound(f"app {key[0]} has no environment {key[1]!r}", code="ENVIRONMENT_NOT_FOUND")
    return row


def _left_behind(versions: list[Any], current: int) -> set[str]:
    """The current version, whatever is newer, and what each of them came from: that was the same once before."""
    sources = {id: source for id, _, source, _ in versions}
    left: set[str] = set()
    for id, version, _, _ in versions:
        step: str | None = id if version >= current else None
        while step is not None and step not in left:
            left.add(step)
            step = sources.get(step)
    return left


def _newest_good(database: SqliteDatabase, versions: list[Any], current: int, left: set[str]) -> Deployment:
    for id, version, _, was_ready in versions:
        if version >= current or id in left or not was_ready:
            continue
        found = _decoding.decode(Deployment, *database.execute_sql(_SNAPSHOT, (id,)).fetchone())
        if found is not None:
            return found
    raise Conflict(
        "there is no earlier version here that was ready and was not rolled back from",
        code="NOTHING_TO_ROLL_BACK_TO",
    )
