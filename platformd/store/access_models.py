"""The tables of who may call and what was answered: tokens and idempotency keys. See `models` for the rules."""

from __future__ import annotations

from peewee import BlobField, IntegerField, Model, TextField


class TokenRow(Model):  # type: ignore[misc]
    """`digest` is the SHA-256 of the secret, which is kept nowhere."""

    id = TextField(primary_key=True)
    name = TextField()
    digest = TextField(unique=True)
    prefix = TextField()
    scope = TextField()
    app_id = TextField(null=True, index=True)
    created_at = TextField()
    last_used_at = TextField(null=True)
    revoked_at = TextField(null=True)

    class Meta:
        table_name = "tokens"
        indexes = ((("created_at", "id"), False),)


class RequestKeyRow(Model):  # type: ignore[misc]
    """`kind` and `object_id` name what the request made; `status` is null until it was answered."""

    id = TextField(primary_key=True)
    fingerprint = TextField()
    kind = TextField(null=True)
    object_id = TextField(null=True)
    status = IntegerField(null=True)
    headers = TextField(null=True)
    body = BlobField(null=True)
    created_at = TextField(index=True)

    class Meta:
        table_name = "request_keys"
        without_rowid = True
