"""The step from schema 1 to 2. Run by `migrations` within one transaction.

A step never changes once it is released, so it says in SQL what it makes, whatever the models become later.
"""

from __future__ import annotations

from peewee import SqliteDatabase

STATEMENTS = (
    "ALTER TABLE hosts ADD COLUMN id TEXT",
    "ALTER TABLE hosts ADD COLUMN created_at TEXT",
    """CREATE TABLE variables (
        app_id TEXT NOT NULL, environment TEXT NOT NULL, revision INTEGER NOT NULL, updated_at TEXT NOT NULL,
        snapshot TEXT NOT NULL, PRIMARY KEY (app_id, environment)
    ) WITHOUT ROWID""",
    """CREATE TABLE registries (
        id TEXT NOT NULL PRIMARY KEY, app_id TEXT NOT NULL, host TEXT NOT NULL, username TEXT NOT NULL,
        password TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL
    )""",
    "CREATE UNIQUE INDEX registryrow_app_id_host ON registries (app_id, host)",
    "CREATE TABLE removals (app_id TEXT NOT NULL PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID",
)


def second_schema(database: SqliteDatabase) -> None:
    for statement in STATEMENTS:
        database.execute_sql(statement)
