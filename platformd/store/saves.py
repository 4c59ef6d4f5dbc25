"""The statements that write snapshots: any number of them in one, columns derived from the JSON as it is stored.

Called by the writer's thread only.
"""

from __future__ import annotations

from collections.abc import Iterable

from peewee import SqliteDatabase

from platformd.domain.build.state import Build
from platformd.domain.build.state import Phase as BuildPhase
from platformd.domain.deployment.state import Deployment, Phase
from platformd.domain.snapshot import SCHEMA, App, Artifact
from platformd.domain.task import Task, TaskPhase
from platformd.store.codec import Snapshot, encode

_Columns = dict[str, str]


def _instant(path: str) -> str:
    return f"rtrim(value ->> '{path}', 'Z')"


def _none_of(path: str, values: Iterable[str]) -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    return f"value ->> '{path}' NOT IN ({listed})"


def _shown() -> str:
    """A task's state as clients know it."""
    cases = (f"WHEN '{phase}' THEN '{phase.shown}'" for phase in TaskPhase if phase is not phase.shown)
    return f"CASE value ->> '$.phase' {' '.join(cases)} ELSE value ->> '$.phase' END"


_DEPLOYMENT: _Columns = {
    "id": "value ->> '$.identity.id'",
    "app_id": "value ->> '$.identity.app_id'",
    "environment": "value ->> '$.identity.environment'",
    "version": "value ->> '$.identity.version'",
    "created_at": _instant("$.identity.created_at"),
    "artifact_id": "value ->> '$.spec.artifact_id'",
    "status": "value ->> '$.status'",
    "phase": "value ->> '$.phase'",
    "awake": _none_of("$.phase", (Phase.ASLEEP, Phase.DONE)),
    "revision": "value ->> '$.revision'",
    "updated_at": _instant("$.updated_at"),
}
_TASK: _Columns = {
    "id": "value ->> '$.id'",
    "deployment_id": "value ->> '$.deployment_id'",
    "app_id": "value ->> '$.app_id'",
    "slot": "value ->> '$.slot'",
    "created_at": _instant("$.created_at"),
    "state": _shown(),
    "live": _none_of("$.phase", (phase for phase in TaskPhase if phase.final)),
    "revision": "value ->> '$.revision'",
    "updated_at": _instant("$.updated_at"),
}
_APP: _Columns = {
    "id": "value ->> '$.id'",
    "name": "value ->> '$.name'",
    "namespace": "value ->> '$.namespace'",
    "subdomain": "value ->> '$.subdomain'",
    "created_at": _instant("$.created_at"),
    "updated_at": _instant("$.updated_at"),
    "revision": "value ->> '$.revision'",
    "versions": "0",
}
_ARTIFACT: _Columns = {
    "id": "value ->> '$.id'",
    "name": "value ->> '$.name'",
    "sha256": "value ->> '$.sha256'",
    "size": "value ->> '$.size'",
    "app_id": "value ->> '$.app_id'",
    "created_at": _instant("$.created_at"),
}
_BUILD: _Columns = {
    "id": "value ->> '$.id'",
    "app_id": "value ->> '$.app_id'",
    "environment": "value ->> '$.environment'",
    "state": "value ->> '$.state'",
    "live": _none_of("$.phase", (BuildPhase.DONE,)),
    "branch": "value ->> '$.branch'",
    "commit_sha": "value ->> '$.commit.sha'",
    "deployment_id": "value ->> '$.deployment_id'",
    "revision": "value ->> '$.revision'",
    "created_at": _instant("$.created_at"),
    "updated_at": _instant("$.updated_at"),
}
_NEVER_UPDATED = frozenset({"id", "created_at", "versions"})


def _upsert(table: str, columns: _Columns) -> str:
    names = ", ".join((*columns, "format", "snapshot"))
    values = ", ".join((*columns.values(), str(SCHEMA), "value"))
    updates = ", ".join(
        f"{name} = excluded.{name}" for name in (*columns, "format", "snapshot") if name not in _NEVER_UPDATED
    )
    return (
        f"INSERT INTO {table} ({names}) SELECT {values} FROM json_each(?) WHERE true "
        f"ON CONFLICT (id) DO UPDATE SET {updates}"
    )


_STATEMENTS: dict[type, str] = {
    Deployment: _upsert("deployments", _DEPLOYMENT),
    Task: _upsert("tasks", _TASK),
    App: _upsert("apps", _APP),
    Artifact: _upsert("artifacts", _ARTIFACT),
    Build: _upsert("builds", _BUILD),
}


def save(database: SqliteDatabase, *snapshots: Snapshot) -> None:
    """Insert or replace the rows of `snapshots`, which are all of one kind and of different objects."""
    encoded = b"[" + b",".join(encode(snapshot) for snapshot in snapshots) + b"]"
    database.execute_sql(_STATEMENTS[type(snapshots[0])], (encoded.decode(),))
