"""Idempotency keys and expected revisions, inside the transaction of the change they guard. The writer's thread; `kept`
on any."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from peewee import SqliteDatabase

from platformd.domain.operations import Operation
from platformd.domain.retries import ForgetAnswers, IfRevision, KeepAnswer, KeptAnswer, KeptRequest, Once
from platformd.domain.token import Token
from platformd.errors import PreconditionFailed
from platformd.store import tokens
from platformd.store.codec import Decoding, stamp
from platformd.store.reader import RECORD_BY_ID, TABLES, Reader

T = TypeVar("T")
Apply = Callable[[Operation[Any], SqliteDatabase], Any]

_MADE = "SELECT kind, object_id FROM request_keys WHERE id = ? AND object_id IS NOT NULL"
_NEW = """
INSERT OR REPLACE INTO request_keys (id, fingerprint, kind, object_id, created_at) VALUES (?, ?, ?, ?, ?)
"""
_ANSWERED = """
INSERT INTO request_keys (id, fingerprint, status, headers, body, created_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status,
    headers = excluded.headers, body = excluded.body, created_at = excluded.created_at
"""
_KEPT = "SELECT fingerprint, status, headers, body FROM request_keys WHERE id = ? AND created_at > ?"
_KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in TABLES}
_decoding = Decoding()


def once(operation: Once[Any], database: SqliteDatabase, apply: Apply) -> Any:
    """See `Once`."""
    made = database.execute_sql(_MADE, (operation.key.id,)).fetchone()
    found = None if made is None else _record(database, *made)
    if found is not None:
        return found
    result = apply(operation.operation, database)
    kind = type(result).__name__.lower()
    key = operation.key
    database.execute_sql(_NEW, (key.id, key.fingerprint, kind, result.id, stamp(operation.at)))
    return result


def keep(operation: KeepAnswer, database: SqliteDatabase) -> None:
    """See `KeepAnswer`."""
    key, answer = operation.key, operation.answer
    headers = json.dumps(dict(answer.headers))
    values = (key.id, key.fingerprint, answer.status, headers, answer.body, stamp(operation.at))
    database.execute_sql(_ANSWERED, values)


def forget(operation: ForgetAnswers, database: SqliteDatabase) -> int:
    """See `ForgetAnswers`."""
    cursor = database.execute_sql(
        "DELETE FROM request_keys WHERE created_at <= ?", (stamp(operation.before),)
    )
    return int(cursor.rowcount)


def if_revision(operation: IfRevision[Any], database: SqliteDatabase, apply: Apply) -> Any:
    """See `IfRevision`; of a record that does not exist the operation itself says so."""
    if operation.kind is Token:
        found = database.execute_sql(
            "SELECT 1 + (revoked_at IS NOT NULL) FROM tokens WHERE id = ?", (operation.id,)
        )
    else:
        table = TABLES[operation.kind]
        found = database.execute_sql(f"SELECT revision FROM {table} WHERE id = ?", (operation.id,))
    row = found.fetchone()
    if row is not None and row[0] != operation.revision:
        raise PreconditionFailed.of(operation.revision, row[0])
    return apply(operation.operation, database)


def kept(reader: Reader, key_id: str, after: datetime) -> KeptRequest | None:
    """What is known of a key that was used after `after`."""
    row = reader.row(_KEPT, key_id, stamp(after))
    if row is None:
        return None
    fingerprint, status, headers, body = row
    answer = None if status is None else KeptAnswer(status, json.loads(headers), bytes(body))
    return KeptRequest(fingerprint, answer)


def _record(database: SqliteDatabase, kind: str, id: str) -> Any:
    if kind == "token":
        return tokens.stored(database, id)
    row = database.execute_sql(RECORD_BY_ID[_KINDS[kind]], (id,)).fetchone()
    return None if row is None else _decoding.decode(_KINDS[kind], *row)
