"""Tokens: the statements that make, revoke and find them. Writes on the writer's thread, reads on any."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from peewee import SqliteDatabase

from platformd.domain.token import CreateToken, RevokeToken, Scope, Token, TokenUsed
from platformd.errors import NotFound
from platformd.ids import new_id
from platformd.store.codec import stamp
from platformd.store.reader import Reader

_FIELDS = "id, name, scope, prefix, app_id, created_at, last_used_at, revoked_at"
_BY_DIGEST = f"SELECT {_FIELDS} FROM tokens WHERE digest = ?"
_BY_ID = f"SELECT {_FIELDS} FROM tokens WHERE id = ?"
_NEW = """
INSERT INTO tokens (id, name, digest, prefix, scope, app_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)
"""


def create(operation: CreateToken, database: SqliteDatabase) -> Token:
    """See `CreateToken`."""
    app_id = operation.app_id
    if app_id is not None and not _exists(database, app_id):
        raise NotFound(f"there is no app {app_id}", code="APP_NOT_FOUND")
    id = new_id()
    values = (id, operation.name, operation.digest, operation.prefix, operation.scope.value, app_id)
    database.execute_sql(_NEW, (*values, stamp(operation.at)))
    return stored(database, id)


def revoke(operation: RevokeToken, database: SqliteDatabase) -> Token:
    """See `RevokeToken`."""
    sql = "UPDATE tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?"
    database.execute_sql(sql, (stamp(operation.at), operation.id))
    return stored(database, operation.id)


def used(operation: TokenUsed, database: SqliteDatabase) -> None:
    """See `TokenUsed`."""
    sql = "UPDATE tokens SET last_used_at = ? WHERE id = ?"
    database.execute_sql(sql, (stamp(operation.at), operation.id))


def token_by_digest(reader: Reader, digest: str) -> Token | None:
    """The token whose secret has this digest, revoked ones too."""
    return _token(reader.row(_BY_DIGEST, digest))


def token_by_id(reader: Reader, id: str) -> Token | None:
    return _token(reader.row(_BY_ID, id))


def all_tokens(reader: Reader) -> list[Token]:
    """Newest first."""
    rows = reader.rows(f"SELECT {_FIELDS} FROM tokens ORDER BY created_at DESC, id DESC")
    return [token for row in rows if (token := _token(row)) is not None]


def any_valid(reader: Reader) -> bool:
    """True when there is a token that would be accepted."""
    return reader.row("SELECT 1 FROM tokens WHERE revoked_at IS NULL LIMIT 1") is not None


def stored(database: SqliteDatabase, id: str) -> Token:
    token = _token(database.execute_sql(_BY_ID, (id,)).fetchone())
    if token is None:
        raise NotFound(f"there is no token {id}", code="TOKEN_NOT_FOUND")
    return token


def _exists(database: SqliteDatabase, app_id: str) -> bool:
    return database.execute_sql("SELECT 1 FROM apps WHERE id = ?", (app_id,)).fetchone() is not None


def _token(row: Any) -> Token | None:
    if row is None:
        return None
    id, name, scope, prefix, app_id, created_at, last_used_at, revoked_at = row
    return Token(
        id=id,
        name=name,
        scope=Scope(scope),
        prefix=prefix,
        app_id=app_id,
        created_at=_instant(created_at),
        last_used_at=None if last_used_at is None else _instant(last_used_at),
        revoked_at=None if revoked_at is None else _instant(revoked_at),
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
