"""What is old and nobody needs any more: found on any thread, dropped on the writer's.

A row that cannot be read is never found.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from peewee import SqliteDatabase

from platformd.domain.retention import ForgetArtifacts, ForgetDeployments, ForgetTasks
from platformd.store.codec import encode, stamp
from platformd.store.reader import Reader

_CURRENT = """
SELECT 1 FROM environments e
WHERE e.app_id = d.app_id AND e.slug = d.environment AND e.current_deployment = d.id
"""
_OLD = f"""
WITH good AS (
    SELECT id, row_number() OVER (PARTITION BY app_id, environment ORDER BY version DESC) AS place
    FROM deployments WHERE CASE WHEN json_valid(snapshot) THEN snapshot ->> '$.ever_ready' END
)
SELECT d.id FROM deployments d
WHERE d.updated_at < ? AND d.phase = 'done' AND json_valid(d.snapshot) AND NOT EXISTS ({_CURRENT})
  AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.deployment_id = d.id AND t.live = 1)
  AND d.id NOT IN (SELECT id FROM good WHERE place <= ?)
ORDER BY d.updated_at LIMIT ?
"""
_GIVEN = f"""
SELECT d.id FROM deployments d JOIN json_each(?) given ON given.value = d.id
WHERE d.phase = 'done' AND NOT EXISTS ({_CURRENT})
"""
_OLD_TASKS = "SELECT id FROM tasks WHERE live = 0 AND updated_at < ? LIMIT ?"
_OLD_ARTIFACTS = """
SELECT id FROM artifacts
WHERE created_at < ?1 AND json_valid(snapshot) AND coalesce(snapshot ->> '$.uploaded_at', '') < ?1
  AND id NOT IN (SELECT artifact_id FROM deployments WHERE artifact_id IS NOT NULL)
  AND id NOT IN (SELECT snapshot ->> '$.artifact_id' FROM builds
                 WHERE json_valid(snapshot) AND snapshot ->> '$.artifact_id' IS NOT NULL)
  AND id NOT IN (SELECT snapshot ->> '$.default_deployment_spec.artifact_id' FROM apps
                 WHERE json_valid(snapshot) AND snapshot ->> '$.default_deployment_spec.artifact_id' IS NOT NULL)
LIMIT ?2
"""
_IMAGES = """
SELECT id FROM builds
WHERE CASE WHEN json_valid(snapshot) THEN live = 1 OR snapshot ->> '$.image' IS NOT NULL ELSE 1 END
UNION ALL SELECT snapshot ->> '$.default_deployment_spec.image' FROM apps
WHERE CASE WHEN json_valid(snapshot) THEN snapshot ->> '$.default_deployment_spec.image' IS NOT NULL END
"""
_WRITING = """
SELECT id FROM tasks WHERE live = 1 OR updated_at >= ?1
UNION ALL SELECT id FROM deployments WHERE phase != 'done' OR updated_at >= ?1
UNION ALL SELECT id FROM builds
"""


def old_deployments(reader: Reader, before: datetime, keep: int, most: int) -> list[str]:
    """Ids of those that were done before the instant, oldest first, but the environment's current one and the newest
    `keep` of each environment that were ready: a rollback may need them."""
    return [id for (id,) in reader.rows(_OLD, stamp(before), keep, most)]


def writers_since(reader: Reader, at: datetime) -> set[str]:
    """Ids of the tasks that live, or did at or after `at`, and so of deployments: output is written by both. That of a
    build is kept with it."""
    return {id for (id,) in reader.rows(_WRITING, stamp(at))}


def known_bytes(reader: Reader) -> Collection[str]:
    """The SHA-256 of every artifact that has its bytes."""
    return {sha256 for (sha256,) in reader.rows("SELECT sha256 FROM artifacts WHERE sha256 IS NOT NULL")}


def known_uploads(reader: Reader) -> Collection[str]:
    """The SHA-256 of every tree that was sent for a build of which something is still to run."""
    sql = "SELECT snapshot ->> '$.upload' FROM builds WHERE live = 1 AND json_valid(snapshot)"
    return {sha256 for (sha256,) in reader.rows(sql) if sha256 is not None}


def known_images(reader: Reader) -> frozenset[str]:
    """Ids of the builds that have made an image or may be making one, and what apps' defaults name."""
    return frozenset(name for (name,) in reader.rows(_IMAGES))


def forget_deployments(operation: ForgetDeployments, database: SqliteDatabase) -> tuple[str, ...]:
    """See `ForgetDeployments`."""
    found = database.execute_sql(_GIVEN, (encode(list(operation.ids)).decode(),)).fetchall()
    ids = encode([id for (id,) in found]).decode()
    given = "(SELECT value FROM json_each(?))"
    hosts = database.execute_sql(
        f"DELETE FROM hosts WHERE deployment_id IN {given} RETURNING hostname", (ids,)
    ).fetchall()
    database.execute_sql(f"DELETE FROM tasks WHERE deployment_id IN {given}", (ids,))
    database.execute_sql(f"DELETE FROM deployments WHERE id IN {given}", (ids,))
    return tuple(hostname for (hostname,) in hosts)


def forget_tasks(operation: ForgetTasks, database: SqliteDatabase) -> int:
    """See `ForgetTasks`."""
    return _delete(database, "tasks", _OLD_TASKS, operation.before, operation.most)


def forget_artifacts(operation: ForgetArtifacts, database: SqliteDatabase) -> int:
    """See `ForgetArtifacts`."""
    return _delete(database, "artifacts", _OLD_ARTIFACTS, operation.before, operation.most)


def _delete(database: SqliteDatabase, table: str, old: str, before: datetime, most: int) -> int:
    cursor = database.execute_sql(f"DELETE FROM {table} WHERE id IN ({old})", (stamp(before), most))
    return int(cursor.rowcount)
