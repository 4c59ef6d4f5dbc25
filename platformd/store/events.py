"""What happened, as rows: numbered and written with the change that caused it, read again by whoever follows.

`Recorder` belongs to the writer's thread; reads run on any. What is no longer kept leaves its highest id behind, so
that a reader who resumes can be told whether something is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

import structlog
from peewee import SqliteDatabase

from platformd import clock
from platformd.domain.notice import Event, Filter, Notice
from platformd.store.codec import encode, stamp
from platformd.store.connection import is_storage_failure
from platformd.store.reader import Reader

_FORGOTTEN = "events_forgotten"
_COLUMNS = "id, at, type, app_id, deployment_id, task_id, build_id, revision, data"
_INSERT = f"""
INSERT INTO events ({_COLUMNS})
SELECT value ->> 0, ?, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value -> 7
FROM json_each(?)
"""
_FORGET = """
INSERT INTO meta (key, value) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER))
"""

_log = structlog.get_logger(__name__)


class StoredEvent(NamedTuple):
    """One row; `at` is UTC text without the final Z, `data` a JSON object as text."""

    id: int
    at: str
    type: str
    app_id: str
    deployment_id: str | None
    task_id: str | None
    build_id: str | None
    revision: int | None
    data: str


class Recorder:
    """Gives notices their ids and writes their rows, one statement for all of a transaction."""

    def __init__(self, database: SqliteDatabase) -> None:
        (newest,) = database.execute_sql("SELECT max(id) FROM events").fetchone()
        row = database.execute_sql("SELECT value FROM meta WHERE key = ?", (_FORGOTTEN,)).fetchone()
        self._last = max(newest or 0, int(row[0]) if row else 0)

    def record(self, database: SqliteDatabase, notices: Sequence[Notice]) -> list[Event]:
        """The notices as events, their rows written within the present transaction."""
        if not notices:
            return []
        at = clock.now()
        events = [Event(self._next(at), at, notice) for notice in notices]
        try:
            database.execute_sql(_INSERT, (stamp(at), _encoded(events)))
        except Exception as error:
            if is_storage_failure(error) or not database.connection().in_transaction:
                raise
            _log.exception("store.events_lost", types=[notice.type for notice in notices])
        return events

    def _next(self, at: datetime) -> int:
        self._last = max(self._last + 1, int(at.timestamp() * 1_000_000))
        return self._last


def after(reader: Reader, filter: Filter, id: int, limit: int) -> tuple[list[StoredEvent], int]:
    """The first `limit` events above `id`, oldest first; and the id up to which there is nothing else."""
    where, values = _conditions(filter)
    last = last_id(reader)
    sql = f"SELECT {_COLUMNS} FROM events WHERE id > ? AND id <= ? {where} ORDER BY id LIMIT ?"
    found = [StoredEvent(*row) for row in reader.rows(sql, id, last, *values, limit)]
    return found, found[-1].id if len(found) == limit else max(id, last)


def newest(reader: Reader, filter: Filter, limit: int) -> list[StoredEvent]:
    """The last `limit` events, oldest first."""
    where, values = _conditions(filter)
    sql = f"SELECT {_COLUMNS} FROM events WHERE id > 0 {where} ORDER BY id DESC LIMIT ?"
    return [StoredEvent(*row) for row in reversed(reader.rows(sql, *values, limit))]


def last_id(reader: Reader) -> int:
    """The newest event's id; what has been forgotten counts, 0 when there never was one."""
    (found,) = reader.row("SELECT max(id) FROM events")
    return found or forgotten(reader)


def oldest_after_gap(reader: Reader, id: int) -> int | None:
    """The oldest event's id (0: there is none) when one above `id` is not kept any more; else None."""
    if id >= forgotten(reader):
        return None
    (oldest,) = reader.row("SELECT min(id) FROM events")
    return oldest or 0


def forgotten(reader: Reader) -> int:
    """The highest id that is not kept any more; 0 when everything is."""
    row = reader.row("SELECT value FROM meta WHERE key = ?", _FORGOTTEN)
    return int(row[0]) if row else 0


def expire(database: SqliteDatabase, before: datetime, most: int) -> int:
    """Forget at most `most` events that happened before the instant: how many. The writer's thread."""
    oldest = "SELECT id FROM events WHERE at < ? ORDER BY id LIMIT ?"
    bound = (stamp(before), most)
    (highest,) = database.execute_sql(f"SELECT max(id) FROM ({oldest})", bound).fetchone()
    if highest is None:
        return 0
    gone = database.execute_sql(f"DELETE FROM events WHERE id IN ({oldest})", bound).rowcount
    database.execute_sql(_FORGET, (_FORGOTTEN, str(highest)))
    return int(gone)


def _conditions(filter: Filter) -> tuple[str, list[object]]:
    parts: list[str] = []
    values: list[object] = []
    for column in ("app_id", "deployment_id"):
        wanted = getattr(filter, column)
        if wanted is not None:
            parts.append(f"{column} = ?")
            values.append(wanted)
    if filter.types is not None:
        types = sorted(filter.types)
        parts.append("(" + (" OR ".join(_type_is(type) for type in types) or "0") + ")")
        for type in types:
            values += [type, type] if type.endswith(".") else [type]
    return "".join(f" AND {part}" for part in parts), values


def _type_is(wanted: str) -> str:
    return "substr(type, 1, length(?)) = ?" if wanted.endswith(".") else "type = ?"


def _encoded(events: Sequence[Event]) -> str:
    try:
        return encode([_row(event) for event in events]).decode()
    except Exception:
        return encode([_row(_sayable(event)) for event in events]).decode()


def _row(event: Event) -> tuple[object, ...]:
    notice = event.notice
    return (
        event.id,
        notice.type,
        notice.app_id,
        notice.deployment_id,
        notice.task_id,
        notice.build_id,
        notice.revision,
        notice.data,
    )


def _sayable(event: Event) -> Event:
    """An event whose data JSON cannot say is stored without them: it must not take a change down with it."""
    try:
        encode(_row(event))
    except Exception as error:
        _log.error("store.event_without_data", type=event.notice.type, why=str(error))
        return replace(event, notice=replace(event.notice, data={}))
    return event
