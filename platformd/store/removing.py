"""Taking things away: apps with all that is theirs, artifacts. Inside the writer's transaction and thread."""

from __future__ import annotations

from peewee import SqliteDatabase

from platformd.domain.configuration import BeginRemoval, DeleteArtifact, FinishRemoval
from platformd.errors import Conflict, NotFound
from platformd.store import configuring, deploying
from platformd.store.codec import stamp
from platformd.store.models import MODELS, AppRow, EventRow

_NEEDED = """
SELECT app_id, version, status FROM deployments
WHERE artifact_id = ? AND (status IN ('pending', 'running') OR snapshot ->> '$.ever_ready')
ORDER BY status IN ('pending', 'running') DESC, version DESC LIMIT 3
"""


def begin_removal(operation: BeginRemoval, database: SqliteDatabase) -> None:
    """See `BeginRemoval`."""
    app_id = operation.app_id
    if database.execute_sql("SELECT 1 FROM removals WHERE app_id = ?", (app_id,)).fetchone():
        return
    row = database.execute_sql("SELECT revision FROM apps WHERE id = ?", (app_id,)).fetchone()
    if row is None:
        raise deploying.no_app(app_id)
    configuring.refuse_stale(operation.revision, row[0])
    database.execute_sql("INSERT INTO removals (app_id, at) VALUES (?, ?)", (app_id, stamp(operation.at)))


def finish_removal(operation: FinishRemoval, database: SqliteDatabase) -> tuple[str, ...]:
    """See `FinishRemoval`. What happened stays known for as long as events are kept."""
    app_id = operation.app_id
    unfinished = "SELECT count(*) FROM deployments WHERE app_id = ? AND status IN ('pending', 'running')"
    if database.execute_sql(unfinished, (app_id,)).fetchone()[0]:
        raise Conflict(f"app {app_id} still has deployments that are not finished", code="APP_IN_USE")
    hostnames = database.execute_sql("SELECT hostname FROM hosts WHERE app_id = ?", (app_id,)).fetchall()
    for model in MODELS:
        if hasattr(model, "app_id") and model is not EventRow:
            model.delete().where(model.app_id == app_id).execute(database)
    AppRow.delete().where(AppRow.id == app_id).execute(database)
    return tuple(hostname for (hostname,) in hostnames)


def delete_artifact(operation: DeleteArtifact, database: SqliteDatabase) -> str | None:
    """See `DeleteArtifact`."""
    needed = database.execute_sql(_NEEDED, (operation.id,)).fetchall()
    if needed:
        named = ", ".join(
            f"version {version} of app {app_id} ({status})" for app_id, version, status in needed
        )
        raise Conflict(
            f"artifact {operation.id} is needed by {named}; delete it once they, and rollbacks to them, are history",
            code="ARTIFACT_IN_USE",
        )
    gone = database.execute_sql(
        "DELETE FROM artifacts WHERE id = ? RETURNING sha256", (operation.id,)
    ).fetchone()
    if gone is None:
        raise NotFound(f"there is no artifact {operation.id}", code="ARTIFACT_NOT_FOUND")
    sha256: str | None = gone[0]
    others = "SELECT 1 FROM artifacts WHERE sha256 = ?"
    kept = sha256 is None or database.execute_sql(others, (sha256,)).fetchone()
    return None if kept else sha256
