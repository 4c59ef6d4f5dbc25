"""Idempotency keys and expected revisions, inside the transaction of the change they guard. The writer's thread; `kept`
on any.

A key's row names what the request made: the kind and id of a record, or, of kind "value", the very result as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from peewee import SqliteDatabase

from platformd.domain.build.orders import Delivered
from platformd.domain.build.state import Build
from platformd.domain.deployment.state import Deployment
from platformd.domain.operations import Operation
from platformd.domain.policy import ANSWERS_KEPT
from platformd.domain.requests import RequestKey
from platformd.domain.retries import (
    ForgetAnswers,
    IfRevision,
    KeepAnswer,
    KeptAnswer,
    KeptRequest,
    Made,
    Once,
)
from platformd.domain.token import Token
from platformd.errors import PreconditionFailed
from platformd.store import configuring, tokens
from platformd.store.codec import Decoding, stamp
from platformd.store.reader import RECORD_BY_ID, TABLES, Reader

T = TypeVar("T")
Apply = Callable[[Operation[Any], SqliteDatabase], Any]

_MADE = "SELECT kind, object_id FROM request_keys WHERE id = ? AND object_id IS NOT NULL AND created_at > ?"
_NEW = """
INSERT OR REPLACE INTO request_keys (id, fingerprint, kind, object_id, created_at) VALUES (?, ?, ?, ?, ?)
"""
_ANSWERED = """
INSERT INTO request_keys (id, fingerprint, status, headers, body, created_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status,
    headers = excluded.headers, body = excluded.body, created_at = excluded.created_at
"""
_KEPT = "SELECT fingerprint, status, headers, body FROM request_keys WHERE id = ? AND created_at > ?"
_VALUE = "value"
_decoding = Decoding()


def once(operation: Once[Any], database: SqliteDatabase, apply: Apply) -> Made[Any]:
    """See `Once`. What was made and is gone since is made anew."""
    key = operation.key
    row = database.execute_sql(_MADE, (key.id, stamp(operation.at - ANSWERS_KEPT))).fetchone()
    made = None if row is None else _made(database, *row)
    if made is not None:
        return made
    result = apply(operation.operation, database)
    note(database, key, result, operation.at)
    return Made(result, new=True)


def note(database: SqliteDatabase, key: RequestKey, result: Any, at: datetime) -> None:
    """That `result` was made or changed under `key`, within the present transaction."""
    database.execute_sql(_NEW, (key.id, key.fingerprint, *_named(result), stamp(at)))


def keep(operation: KeepAnswer, database: SqliteDatabase) -> None:
    """See `KeepAnswer`."""
    key, answer = operation.key, operation.answer
    headers = json.dumps(dict(answer.headers))
    values = (key.id, key.fingerprint, answer.status, headers, answer.body, stamp(operation.at))
    database.execute_sql(_ANSWERED, values)


def forget(operation: ForgetAnswers, database: SqliteDatabase) -> int:
    """See `ForgetAnswers`."""
    old = "SELECT id FROM request_keys WHERE created_at <= ? LIMIT ?"
    cursor = database.execute_sql(
        f"DELETE FROM request_keys WHERE id IN ({old})", (stamp(operation.before), operation.most)
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


def kept(reader: Reader, key_id: str, now: datetime) -> KeptRequest | None:
    """What is known of a key that was used less than `ANSWERS_KEPT` ago."""
    row = reader.row(_KEPT, key_id, stamp(now - ANSWERS_KEPT))
    if row is None:
        return None
    fingerprint, status, headers, body = row
    answer = None if status is None else KeptAnswer(status, json.loads(headers), bytes(body))
    return KeptRequest(fingerprint, answer)


def _named(result: Any) -> tuple[str, str]:
    if result is None or isinstance(result, bool):
        return _VALUE, json.dumps(result)
    return type(result).__name__.lower(), result.id


def _made(database: SqliteDatabase, kind: str, name: str) -> Made[Any] | None:
    if kind == _VALUE:
        return Made(json.loads(name), new=False)
    found = _FINDERS[kind](database, name)
    return None if found is None else Made(found, new=False)


def _record(kind: type, database: SqliteDatabase, id: str) -> Any:
    row = database.execute_sql(RECORD_BY_ID[kind], (id,)).fetchone()
    return None if row is None else _decoding.decode(kind, *row)


def _delivered(database: SqliteDatabase, build_id: str) -> Delivered | None:
    build = _record(Build, database, build_id)
    if build is None:
        return None
    made = None if build.deployment_id is None else _record(Deployment, database, build.deployment_id)
    return Delivered(build=build, made=made)


_FINDERS: dict[str, Callable[[SqliteDatabase, str], Any]] = {
    **{kind.__name__.lower(): partial(_record, kind) for kind in TABLES},
    "delivered": _delivered,
    "token": tokens.stored,
    "customdomain": configuring.custom_domain,
    "registry": configuring.registry,
}
