"""The step from schema 2 to 3: sources, builds, webhook deliveries. See `second_schema` for the rule."""

from __future__ import annotations

from peewee import SqliteDatabase

STATEMENTS = (
    """CREATE TABLE sources (
        app_id TEXT NOT NULL PRIMARY KEY, repository TEXT NOT NULL, revision INTEGER NOT NULL,
        updated_at TEXT NOT NULL, snapshot TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX sourcerow_repository ON sources (repository)",
    """CREATE TABLE builds (
        id TEXT NOT NULL PRIMARY KEY, app_id TEXT NOT NULL, environment TEXT NOT NULL, state TEXT NOT NULL,
        live INTEGER NOT NULL, branch TEXT, commit_sha TEXT, deployment_id TEXT, revision INTEGER NOT NULL,
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL, format INTEGER NOT NULL, snapshot TEXT NOT NULL
    )""",
    "CREATE INDEX buildrow_app_id_state ON builds (app_id, state)",
    "CREATE INDEX buildrow_deployment_id ON builds (deployment_id)",
    "CREATE INDEX buildrow_created_at_id ON builds (created_at, id)",
    "CREATE INDEX buildrow_state_id ON builds (state, id)",
    "CREATE INDEX builds_live ON builds (id) WHERE live = 1",
    """CREATE TABLE webhook_deliveries (
        id TEXT NOT NULL PRIMARY KEY, app_id TEXT NOT NULL, delivery_guid TEXT NOT NULL, event TEXT NOT NULL,
        action TEXT, ref TEXT, commit_sha TEXT, environment TEXT, verdict TEXT NOT NULL, reason TEXT,
        build_id TEXT, received_at TEXT NOT NULL, occurred_at TEXT
    )""",
    "CREATE UNIQUE INDEX webhookdeliveryrow_app_id_delivery_guid ON webhook_deliveries (app_id, delivery_guid)",
    "CREATE INDEX webhookdeliveryrow_app_id_received_at_id ON webhook_deliveries (app_id, received_at, id)",
    "CREATE INDEX webhookdeliveryrow_app_id_environment ON webhook_deliveries (app_id, environment)",
    "CREATE INDEX webhookdeliveryrow_received_at ON webhook_deliveries (received_at)",
    """CREATE TABLE commit_statuses (
        app_id TEXT NOT NULL, environment TEXT NOT NULL, commit_sha TEXT NOT NULL, build_id TEXT NOT NULL,
        state TEXT NOT NULL, settled INTEGER NOT NULL, refusal TEXT, updated_at TEXT NOT NULL,
        PRIMARY KEY (app_id, environment, commit_sha)
    ) WITHOUT ROWID""",
    "ALTER TABLE environments ADD COLUMN pull_request INTEGER",
)


def third_schema(database: SqliteDatabase) -> None:
    for statement in STATEMENTS:
        database.execute_sql(statement)
