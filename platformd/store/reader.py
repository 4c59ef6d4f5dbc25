"""Rows by key and the few whole-table reads of recovery and routing, as SQL on query-only connections.

A connection is lent for a read and kept for the next one, of whichever thread: there are as many as ever read at once.
`close` closes them all. A row that cannot be read is reported once and treated as absent.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from platformd import clock
from platformd.domain.build.state import Build
from platformd.domain.deployment.state import Deployment
from platformd.domain.snapshot import App, Artifact
from platformd.domain.task import Task
from platformd.store.codec import Decoding

PORTION = 500
T = TypeVar("T", App, Artifact, Deployment, Task, Build)

TABLES: dict[type, str] = {
    App: "apps",
    Artifact: "artifacts",
    Deployment: "deployments",
    Task: "tasks",
    Build: "builds",
}
# As bytes: text that is no UTF-8 would fail the whole query, not its own row.
_RECORD = "SELECT id, format, CAST(snapshot AS BLOB) FROM"
RECORD_BY_ID = {kind: f"{_RECORD} {table} WHERE id = ?" for kind, table in TABLES.items()}

# A crash may come between an environment's row and those of the deployments it was taken from and given to.
_CONTESTED = """
SELECT d.id FROM environments e JOIN deployments d ON d.id = e.current_deployment
WHERE CASE WHEN json_valid(d.snapshot) THEN NOT coalesce(d.snapshot ->> '$.current', 0) END
UNION
SELECT d.id FROM deployments d JOIN environments e ON e.app_id = d.app_id AND e.slug = d.environment
WHERE d.status = 'running' AND e.current_deployment IS NOT d.id
  AND CASE WHEN json_valid(d.snapshot) THEN (d.snapshot ->> '$.superseded_by') IS NULL END
"""
_ROUTES = """
SELECT h.hostname, h.kind, h.app_id, a.name, h.environment,
       CASE h.kind WHEN 'preview' THEN h.deployment_id ELSE e.current_deployment END, e.current_version
FROM hosts h JOIN apps a ON a.id = h.app_id
LEFT JOIN environments e ON e.app_id = h.app_id AND e.slug = h.environment
"""


class Route(NamedTuple):
    """Where a hostname leads. `kind` is "preview" or "environment"; an environment without a deployment has None, and
    `current_version` tells whether it ever had one (then it answers 503, else 404)."""

    hostname: str
    kind: str
    app_id: str
    app_name: str
    environment: str
    deployment_id: str | None
    current_version: int | None


class Current(NamedTuple):
    """Whom an environment's address leads to; both are None before its first deployment was ready."""

    deployment_id: str | None
    version: int | None


class Reader:
    """Reads of one database from any thread."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._all: list[sqlite3.Connection] = []
        self._idle: list[sqlite3.Connection] = []
        self._decode = Decoding().decode

    def rows(self, sql: str, *values: object) -> list[Any]:
        connection = self._lent()
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            self._idle.append(connection)

    def row(self, sql: str, *values: object) -> Any:
        connection = self._lent()
        try:
            return connection.execute(sql, values).fetchone()
        finally:
            self._idle.append(connection)

    def get(self, kind: type[T], id: str) -> T | None:
        row = self.row(RECORD_BY_ID[kind], id)
        return None if row is None else self._decode(kind, *row)

    def all(self, kind: type[T], clause: str = "", *values: object) -> Iterator[T]:
        """Every readable record of a kind whose row meets `clause` (SQL after the table's name)."""
        sql = f"{_RECORD} {TABLES[kind]} {clause}"
        for row in self._each(sql, *values):
            record = self._decode(kind, *row)
            if record is not None:
                yield record

    def _each(self, sql: str, *values: object) -> Iterator[Any]:
        """Rows some at a time: all of a large table at once would leave its peak in the heap."""
        connection = self._lent()
        try:
            with contextlib.closing(connection.execute(sql, values)) as cursor:
                while rows := cursor.fetchmany(PORTION):
                    yield from rows
        finally:
            self._idle.append(connection)

    def app_by_key(self, namespace: str, name: str) -> App | None:
        return next(self.all(App, "WHERE namespace = ? AND name = ?", namespace, name), None)

    def awake_deployments(self) -> list[str]:
        """Ids of those that are neither asleep nor done."""
        return [id for (id,) in self.rows("SELECT id FROM deployments WHERE awake = 1")]

    def living(self, ids: Iterable[str]) -> set[str]:
        """Those of `ids` that have not ended."""
        sql = (
            "SELECT id FROM deployments WHERE id IN (SELECT value FROM json_each(?)) "
            "AND status IN ('pending', 'running')"
        )
        return {id for (id,) in self.rows(sql, json.dumps(list(ids)))}

    def dormant(
        self, awake: Iterable[str], app_id: str | None, offset: int, limit: int
    ) -> tuple[list[str], int]:
        """Ids of a page of the deployments that have not ended and are not in `awake`, and how many those are."""
        where = (
            "FROM deployments WHERE phase != 'done' AND (?1 IS NULL OR app_id = ?1) "
            "AND id NOT IN (SELECT value FROM json_each(?2))"
        )
        known = json.dumps(list(awake))
        (total,) = self.row(f"SELECT count(*) {where}", app_id, known)
        page = f"SELECT id {where} ORDER BY created_at, id LIMIT ?3 OFFSET ?4"
        return [id for (id,) in self.rows(page, app_id, known, limit, offset)], total

    def live_tasks(self) -> list[Task]:
        return list(self.all(Task, "WHERE live = 1"))

    def tasks_of(self, deployment_id: str, live_only: bool) -> list[Task]:
        clause = "WHERE deployment_id = ? AND live = 1" if live_only else "WHERE deployment_id = ?"
        return list(self.all(Task, f"{clause} ORDER BY created_at, id", deployment_id))

    def current(self, app_id: str, environment: str) -> Current:
        sql = "SELECT current_deployment, current_version FROM environments WHERE app_id = ? AND slug = ?"
        row = self.row(sql, app_id, environment)
        return Current(*row) if row else Current(None, None)

    def contested(self) -> list[str]:
        """Ids of deployments whose rows and environments disagree about whom the address leads to."""
        return [id for (id,) in self.rows(_CONTESTED)]

    def environments(self, app_id: str) -> list[str]:
        sql = "SELECT slug FROM environments WHERE app_id = ? ORDER BY slug"
        return [slug for (slug,) in self.rows(sql, app_id)]

    def routes(self, app_id: str | None = None) -> Iterator[Route]:
        """Every hostname, app by app, or those of one."""
        if app_id is None:
            return map(Route._make, self._each(f"{_ROUTES} ORDER BY h.app_id"))
        return map(Route._make, self.rows(f"{_ROUTES} WHERE h.app_id = ?", app_id))

    def anchor(self, boot_id: str) -> clock.Anchor | None:
        row = self.row("SELECT boot_ns, utc FROM anchors WHERE boot_id = ?", boot_id)
        return clock.Anchor(boot_id, row[0], datetime.fromisoformat(row[1])) if row else None

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
            self._idle.clear()

    def _lent(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._connect()
        with self._lock:
            self._all.append(connection)
        return connection
