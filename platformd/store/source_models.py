"""The tables from Git to running: where an app's source lies, its builds, what GitHub sent. See `models` for the
rules."""

from __future__ import annotations

from peewee import CompositeKey, IntegerField, Model, TextField


class SourceRow(Model):  # type: ignore[misc]
    """`repository` is lower case, since GitHub's names do not tell case apart; secrets in `snapshot` are sealed."""

    app_id = TextField(primary_key=True)
    repository = TextField(index=True)
    revision = IntegerField()
    updated_at = TextField()
    snapshot = TextField()

    class Meta:
        table_name = "sources"
        without_rowid = True


class BuildRow(Model):  # type: ignore[misc]
    """`live` is 1 until the build has ended; `deployment_id` is what it fills in or made."""

    id = TextField(primary_key=True)
    app_id = TextField()
    environment = TextField()
    state = TextField()
    live = IntegerField()
    branch = TextField(null=True)
    commit_sha = TextField(null=True)
    deployment_id = TextField(null=True, index=True)
    revision = IntegerField()
    created_at = TextField()
    updated_at = TextField()
    format = IntegerField()
    snapshot = TextField()

    class Meta:
        table_name = "builds"
        indexes = (
            (("app_id", "state"), False),
            (("created_at", "id"), False),
            (("state", "id"), False),
        )


BuildRow.add_index(BuildRow.id, where=(BuildRow.live == 1), name="builds_live")


class WebhookDeliveryRow(Model):  # type: ignore[misc]
    """What GitHub sent for one app and what was made of it; the same delivery of an app is there once. `occurred_at` is
    when a pull request changed as GitHub says."""

    id = TextField(primary_key=True)
    app_id = TextField()
    delivery_guid = TextField()
    event = TextField()
    action = TextField(null=True)
    ref = TextField(null=True)
    commit_sha = TextField(null=True)
    environment = TextField(null=True)
    verdict = TextField()
    reason = TextField(null=True)
    build_id = TextField(null=True)
    received_at = TextField(index=True)
    occurred_at = TextField(null=True)

    class Meta:
        table_name = "webhook_deliveries"
        indexes = (
            (("app_id", "delivery_guid"), True),
            (("app_id", "received_at", "id"), False),
            (("app_id", "environment"), False),
        )


class CommitStatusRow(Model):  # type: ignore[misc]
    """What GitHub was told about a commit in one environment, and by which build. `settled` is 1 once nothing more is
    to be told about that build; `refusal` says why GitHub would not take it."""

    app_id = TextField()
    environment = TextField()
    commit_sha = TextField()
    build_id = TextField()
    state = TextField()
    settled = IntegerField()
    refusal = TextField(null=True)
    updated_at = TextField()

    class Meta:
        table_name = "commit_statuses"
        primary_key = CompositeKey("app_id", "environment", "commit_sha")
        without_rowid = True
