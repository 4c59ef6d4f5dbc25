"""How an app's configuration is changed: variables, environments, custom domains, registry credentials, the app itself.

Inside the writer's transaction and thread; `operations.apply` calls these.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from peewee import SqliteDatabase

from platformd.domain.configuration import (
    AddDomain,
    ChangeVariables,
    CreateEnvironment,
    CustomDomain,
    DeleteEnvironment,
    OldValues,
    Registry,
    RemoveDomain,
    RemoveRegistry,
    SetRegistry,
    UpdateApp,
    VariablesChanged,
    VariableSet,
)
from platformd.domain.snapshot import App
from platformd.domain.variables import Precedence, changed, merged, replaced
from platformd.errors import Conflict, Fault, Invalid, NotFound, PreconditionFailed
from platformd.ids import new_id
from platformd.store import deploying
from platformd.store.codec import Decoding, encode, stamp
from platformd.store.saves import save

FIRST_ENVIRONMENTS = ("development", "production")
_OF_REGISTRY = ("id", "app_id", "host", "username", "password", "created_at", "updated_at")
_decoding = Decoding()

_UNFINISHED = """
SELECT id, version, environment, phase, snapshot -> '$.resolved_env', snapshot -> '$.spec.env',
       snapshot ->> '$.precedence' FROM deployments
WHERE app_id = ?1 AND status IN ('pending', 'running') AND (?2 = '' OR environment = ?2) ORDER BY version
"""
_PREVIEWS = "SELECT slug FROM environments WHERE app_id = ? AND pull_request IS NOT NULL"
_BUILDING = "SELECT count(*) FROM builds WHERE app_id = ? AND environment = ? AND live = 1"


def update_app(operation: UpdateApp, database: SqliteDatabase) -> App:
    """See `UpdateApp`."""
    app = found_app(database, operation.app_id)
    refuse_stale(operation.revision, app.revision)
    changes: dict[str, Any] = dict(operation.changes)
    updated: App = replace(app, **changes, updated_at=operation.at, revision=app.revision + 1)
    save(database, updated)
    return updated


def change_variables(operation: ChangeVariables, database: SqliteDatabase) -> VariablesChanged:
    """See `ChangeVariables`."""
    app_id, slug = operation.app_id, operation.environment or ""
    found_app(database, app_id)
    if slug:
        require_environment(database, app_id, slug)
    row = _row(
        database,
        "SELECT revision, snapshot FROM variables WHERE app_id = ? AND environment = ?",
        app_id,
        slug,
    )
    revision, before = (row[0], deploying.decode_variables(row[1])) if row else (0, {})
    refuse_stale(operation.revision, revision)
    after = (changed if operation.keep else replaced)(before, operation.change)
    database.execute_sql(
        "INSERT OR REPLACE INTO variables (app_id, environment, revision, updated_at, snapshot) VALUES (?, ?, ?, ?, ?)",
        (app_id, slug, revision + 1, stamp(operation.at), encode(after).decode()),
    )
    now = VariableSet(
        app_id=app_id,
        environment=operation.environment,
        values=after,
        revision=revision + 1,
        updated_at=operation.at,
    )
    return VariablesChanged(now=now, old=_with_old_values(database, app_id, slug))


def _with_old_values(database: SqliteDatabase, app_id: str, slug: str) -> tuple[OldValues, ...]:
    """The unfinished deployments whose variables would be others were they created now."""
    sets = database.execute_sql("SELECT environment, snapshot FROM variables WHERE app_id = ?", (app_id,))
    known = {environment: deploying.decode_variables(text) for environment, text in sets.fetchall()}
    previews = {slug for (slug,) in database.execute_sql(_PREVIEWS, (app_id,)).fetchall()}
    rows = database.execute_sql(_UNFINISHED, (app_id, slug)).fetchall()
    found = []
    for id, version, environment, phase, resolved, own_text, precedence in rows:
        own = msgspec.json.decode(own_text)
        seen = merged({}, {}, own) if resolved in (None, "null") else deploying.decode_variables(resolved)
        of_environment = known.get(environment, {})
        of_app = deploying.inherited_variables(known.get("", {}), environment in previews)
        now = merged(of_app, of_environment, own, Precedence(precedence or Precedence.DEPLOYMENT))
        if now != seen:
            found.append(OldValues(id=id, version=version, environment_slug=environment, phase=phase))
    return tuple(found)


def create_environment(operation: CreateEnvironment, database: SqliteDatabase) -> None:
    """See `CreateEnvironment`."""
    app, slug = found_app(database, operation.app_id), operation.slug
    if _row(database, "SELECT 1 FROM environments WHERE app_id = ? AND slug = ?", app.id, slug):
        raise Conflict(f"app {app.name!r} has an environment {slug!r} already", code="ENVIRONMENT_EXISTS")
    taken = deploying.add_environment(database, app.id, app.subdomain, slug, operation.domain, operation.at)
    if taken is not None:
        raise deploying.hostname_taken(slug, taken)


def delete_environment(operation: DeleteEnvironment, database: SqliteDatabase) -> tuple[str, ...]:
    """See `DeleteEnvironment`."""
    app_id, slug = operation.app_id, operation.slug
    require_environment(database, app_id, slug)
    if slug in FIRST_ENVIRONMENTS:
        raise Conflict(
            f"each app has an environment {slug!r}; delete its variables and cancel its deployments instead",
            code="ENVIRONMENT_PERMANENT",
        )
    unfinished = database.execute_sql(_UNFINISHED, (app_id, slug)).fetchall()
    if unfinished:
        named = ", ".join(f"version {version}" for _, version, *_ in unfinished[:5])
        raise Conflict(
            f"environment {slug!r} is in use by {len(unfinished)} deployments ({named}); cancel them first",
            code="ENVIRONMENT_IN_USE",
        )
    (building,) = database.execute_sql(_BUILDING, (app_id, slug)).fetchone()
    if building:
        raise Conflict(
            f"{building} builds for environment {slug!r} have not ended; cancel them first",
            code="ENVIRONMENT_IN_USE",
        )
    hosts = "WHERE app_id = ? AND environment = ? AND kind != 'preview'"
    gone = database.execute_sql(f"DELETE FROM hosts {hosts} RETURNING hostname", (app_id, slug)).fetchall()
    database.execute_sql("DELETE FROM variables WHERE app_id = ? AND environment = ?", (app_id, slug))
    database.execute_sql("DELETE FROM environments WHERE app_id = ? AND slug = ?", (app_id, slug))
    return tuple(hostname for (hostname,) in gone)


def add_domain(operation: AddDomain, database: SqliteDatabase) -> CustomDomain:
    """See `AddDomain`."""
    found_app(database, operation.app_id)
    try:
        require_environment(database, operation.app_id, operation.environment)
    except NotFound as error:
        raise Invalid(error.message, faults=[Fault("/environment", error.message)]) from None
    domain = CustomDomain(
        id=new_id(),
        app_id=operation.app_id,
        domain=operation.domain,
        environment=operation.environment,
        created_at=stamp(operation.at),
    )
    inserted = database.execute_sql(
        "INSERT INTO hosts (hostname, kind, label, app_id, environment, id, created_at) "
        "VALUES (?1, 'custom', ?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        (domain.domain, domain.app_id, domain.environment, domain.id, domain.created_at),
    )
    if not inserted.rowcount:
        raise Conflict(f"{domain.domain} leads to an app already; remove it there first", code="DOMAIN_TAKEN")
    return domain


def custom_domain(database: SqliteDatabase, id: str) -> CustomDomain | None:
    """The custom domain with this id."""
    sql = "SELECT id, app_id, hostname, environment, created_at FROM hosts WHERE id = ? AND kind = 'custom'"
    row = _row(database, sql, id)
    names = ("id", "app_id", "domain", "environment", "created_at")
    return None if row is None else CustomDomain(**dict(zip(names, row, strict=True)))


def remove_domain(operation: RemoveDomain, database: SqliteDatabase) -> str:
    """See `RemoveDomain`."""
    gone = _row(
        database,
        "DELETE FROM hosts WHERE app_id = ? AND id = ? AND kind = 'custom' RETURNING hostname",
        operation.app_id,
        operation.domain_id,
    )
    if gone is None:
        raise NotFound(
            f"app {operation.app_id} has no custom domain {operation.domain_id}", code="DOMAIN_NOT_FOUND"
        )
    return str(gone[0])


def set_registry(operation: SetRegistry, database: SqliteDatabase) -> Registry:
    """See `SetRegistry`."""
    found_app(database, operation.app_id)
    at = stamp(operation.at)
    row = _row(
        database,
        "INSERT INTO registries (id, app_id, host, username, password, created_at, updated_at) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT (app_id, host) DO UPDATE SET "
        "username = excluded.username, password = excluded.password, updated_at = excluded.updated_at "
        f"RETURNING {', '.join(_OF_REGISTRY)}",
        *(new_id(), operation.app_id, operation.host, operation.username, operation.password, at),
    )
    return _registry(row)


def registry(database: SqliteDatabase, id: str) -> Registry | None:
    """The registry credentials with this id."""
    row = _row(database, f"SELECT {', '.join(_OF_REGISTRY)} FROM registries WHERE id = ?", id)
    return None if row is None else _registry(row)


def remove_registry(operation: RemoveRegistry, database: SqliteDatabase) -> None:
    """See `RemoveRegistry`."""
    deleted = database.execute_sql(
        "DELETE FROM registries WHERE app_id = ? AND id = ?", (operation.app_id, operation.registry_id)
    )
    if not deleted.rowcount:
        raise NotFound(
            f"app {operation.app_id} has no registry credentials {operation.registry_id}",
            code="REGISTRY_NOT_FOUND",
        )


def found_app(database: SqliteDatabase, app_id: str) -> App:
    """The app, unless it is to go; NotFound."""
    row = _row(
        database,
        "SELECT format, snapshot FROM apps WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM removals WHERE app_id = ?1)",
        app_id,
    )
    app = _decoding.decode(App, app_id, *row) if row else None
    if app is None:
        raise deploying.no_app(app_id)
    return app


def require_environment(database: SqliteDatabase, app_id: str, slug: str) -> None:
    if not _row(database, "SELECT 1 FROM environments WHERE app_id = ? AND slug = ?", app_id, slug):
        raise NotFound(f"app {app_id} has no environment {slug!r}", code="ENVIRONMENT_NOT_FOUND")


def refuse_stale(seen: int | None, present: int) -> None:
    if seen is not None and seen != present:
        raise PreconditionFailed.of(seen, present)


def _registry(row: Any) -> Registry:
    return Registry(**dict(zip(_OF_REGISTRY, row, strict=True)))


def _row(database: SqliteDatabase, sql: str, *values: object) -> Any:
    return database.execute_sql(sql, values).fetchone()
