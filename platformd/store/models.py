"""The tables, as Peewee knows them: schema and migrations start from here.

A row is one object: `snapshot` is the whole of it as JSON (see `codec`), the other columns are what lists filter and
sort by, derived from the snapshot in the statement that writes it (see `saves`). Instants are UTC text without the
final Z, so that they sort. No model is bound to a database: every query names the one it runs on. Any thread.
"""

from __future__ import annotations

from typing import Any

from peewee import (
    CompositeKey,
    IntegerField,
    Model,
    SchemaManager,
    SqliteDatabase,
    TextField,
)

from platformd.store.access_models import RequestKeyRow, TokenRow
from platformd.store.source_models import BuildRow, CommitStatusRow, SourceRow, WebhookDeliveryRow


class AppRow(Model):  # type: ignore[misc]
    """`versions` is the last version number given to a deployment of the app."""

    id = TextField(primary_key=True)
    name = TextField()
    namespace = TextField()
    subdomain = TextField(unique=True)
    versions = IntegerField(default=0)
    created_at = TextField()
    updated_at = TextField()
    revision = IntegerField()
    format = IntegerField()
    snapshot = TextField()

    class Meta:
        table_name = "apps"
        indexes = ((("namespace", "name"), True), (("created_at", "id"), False))


class EnvironmentRow(Model):  # type: ignore[misc]
    """`current_version` stays when the address is released, so that nothing older takes it again. `held_at` is when a
    rollback made webhooks wait, `rolled_back` a JSON list of the deployments that were rolled back from,
    `pull_request` the number of the one it was made for."""

    app_id = TextField()
    slug = TextField()
    current_deployment = TextField(null=True)
    current_version = IntegerField(null=True)
    created_at = TextField()
    held_at = TextField(null=True)
    rolled_back = TextField(null=True)
    pull_request = IntegerField(null=True)

    class Meta:
        table_name = "environments"
        primary_key = CompositeKey("app_id", "slug")
        without_rowid = True


class HostRow(Model):  # type: ignore[misc]
    """Every hostname there is. `label` is its first part under the platform's own domain; `deployment_id` is set for
    previews only, `id` and `created_at` for custom domains, whose label is the whole name."""

    hostname = TextField(primary_key=True)
    kind = TextField()
    label = TextField()
    app_id = TextField(index=True)
    environment = TextField()
    deployment_id = TextField(null=True)
    id = TextField(null=True)
    created_at = TextField(null=True)

    class Meta:
        table_name = "hosts"
        without_rowid = True


class DeploymentRow(Model):  # type: ignore[misc]
    """`awake` is 1 while there is something to look after: neither asleep nor done."""

    id = TextField(primary_key=True)
    app_id = TextField()
    environment = TextField()
    version = IntegerField()
    status = TextField()
    phase = TextField()
    awake = IntegerField()
    artifact_id = TextField(null=True)
    revision = IntegerField()
    created_at = TextField()
    updated_at = TextField()
    format = IntegerField()
    snapshot = TextField()

    class Meta:
        table_name = "deployments"
        indexes = (
            (("app_id", "version"), True),
            (("app_id", "environment", "status"), False),
            (("created_at", "id"), False),
            (("updated_at", "id"), False),
            (("status", "id"), False),
        )


DeploymentRow.add_index(DeploymentRow.id, where=(DeploymentRow.awake == 1), name="deployments_awake")


class TaskRow(Model):  # type: ignore[misc]
    """`live` is 1 until the task has stopped or failed."""

    id = TextField(primary_key=True)
    deployment_id = TextField()
    app_id = TextField()
    slot = IntegerField()
    state = TextField()
    live = IntegerField()
    revision = IntegerField()
    created_at = TextField()
    updated_at = TextField()
    format = IntegerField()
    snapshot = TextField()

    class Meta:
        table_name = "tasks"
        indexes = (
            (("deployment_id", "live"), False),
            (("created_at", "id"), False),
            (("state", "id"), False),
        )


TaskRow.add_index(TaskRow.id, where=(TaskRow.live == 1), name="tasks_live")


class ArtifactRow(Model):  # type: ignore[misc]
    """Announced executables; `sha256` is null until the bytes are there, `app_id` unless it is for one app only."""

    id = TextField(primary_key=True)
    name = TextField()
    sha256 = TextField(null=True, index=True)
    size = IntegerField(null=True)
    created_at = TextField()
    format = IntegerField()
    snapshot = TextField()
    app_id = TextField(null=True)

    class Meta:
        table_name = "artifacts"
        indexes = ((("created_at", "id"), False),)


class VariablesRow(Model):  # type: ignore[misc]
    """The variables of an app (`environment` is empty) or of one of its environments, secrets sealed."""

    app_id = TextField()
    environment = TextField()
    revision = IntegerField()
    updated_at = TextField()
    snapshot = TextField()

    class Meta:
        table_name = "variables"
        primary_key = CompositeKey("app_id", "environment")
        without_rowid = True


class RegistryRow(Model):  # type: ignore[misc]
    """What an app shows to a registry; the password is sealed."""

    id = TextField(primary_key=True)
    app_id = TextField()
    host = TextField()
    username = TextField()
    password = TextField()
    created_at = TextField()
    updated_at = TextField()

    class Meta:
        table_name = "registries"
        indexes = ((("app_id", "host"), True),)


class RemovalRow(Model):  # type: ignore[misc]
    """An app that is to go: the intent, until all of it is gone."""

    app_id = TextField(primary_key=True)
    at = TextField()

    class Meta:
        table_name = "removals"
        without_rowid = True


class AnchorRow(Model):  # type: ignore[misc]
    """Where steady time started in each boot."""

    boot_id = TextField(primary_key=True)
    boot_ns = IntegerField()
    utc = TextField()

    class Meta:
        table_name = "anchors"


class EventRow(Model):  # type: ignore[misc]
    """What happened; `id` counts microseconds and rises in the order of commits, `data` is a JSON object."""

    id = IntegerField(primary_key=True)
    at = TextField()
    type = TextField()
    app_id = TextField(index=True)
    deployment_id = TextField(null=True, index=True)
    task_id = TextField(null=True)
    build_id = TextField(null=True)
    revision = IntegerField(null=True)
    data = TextField()

    class Meta:
        table_name = "events"


class MetaRow(Model):  # type: ignore[misc]
    """Single values, such as which release wrote the schema."""

    key = TextField(primary_key=True)
    value = TextField()

    class Meta:
        table_name = "meta"


MODELS: tuple[Any, ...] = (
    MetaRow,
    AnchorRow,
    AppRow,
    EnvironmentRow,
    HostRow,
    DeploymentRow,
    TaskRow,
    ArtifactRow,
    VariablesRow,
    RegistryRow,
    RemovalRow,
    TokenRow,
    RequestKeyRow,
    SourceRow,
    BuildRow,
    WebhookDeliveryRow,
    CommitStatusRow,
    EventRow,
)


def create_tables(database: SqliteDatabase) -> None:
    """Every table and index of the present schema."""
    for model in MODELS:
        SchemaManager(model, database).create_all(safe=False)
