"""The step from schema 1 to 2. Run by `migrations` within one transaction.

A step never changes once it is released, so it says in SQL what it makes, whatever the models become later.
"""

from __future__ import annotations

from peewee import SqliteDatabase

STATEMENTS = (
    "ALTER TABLE environments ADD COLUMN held_at TEXT",
    "ALTER TABLE environments ADD COLUMN rolled_back TEXT",
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
    "ALTER TABLE artifacts ADD COLUMN app_id TEXT",
    """CREATE TABLE tokens (
        id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL, prefix TEXT NOT NULL,
        scope TEXT NOT NULL, app_id TEXT, created_at TEXT NOT NULL, last_used_at TEXT, revoked_at TEXT
    )""",
    "CREATE UNIQUE INDEX tokenrow_digest ON tokens (digest)",
    "CREATE INDEX tokenrow_app_id ON tokens (app_id)",
    "CREATE INDEX tokenrow_created_at_id ON tokens (created_at, id)",
    """CREATE TABLE request_keys (
        id TEXT NOT NULL PRIMARY KEY, fingerprint TEXT NOT NULL, kind TEXT, object_id TEXT, status INTEGER,
        headers TEXT, body BLOB, created_at TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX requestkeyrow_created_at ON request_keys (created_at)",
    "CREATE TABLE removals (app_id TEXT NOT NULL PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE events (
        id INTEGER NOT NULL PRIMARY KEY, at TEXT NOT NULL, type TEXT NOT NULL, app_id TEXT NOT NULL,
        deployment_id TEXT, task_id TEXT, build_id TEXT, revision INTEGER, data TEXT NOT NULL
    )""",
    "CREATE INDEX eventrow_app_id ON events (app_id)",
    "CREATE INDEX eventrow_deployment_id ON events (deployment_id)",
)


def second_schema(database: SqliteDatabase) -> None:
    for statement in STATEMENTS:
        database.execute_sql(statement)
