"""Pages of lists: which orders there are, and the rows of one page. Called by the views; any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from platformd.domain.build.state import Build
from platformd.domain.deployment.state import Deployment
from platformd.domain.snapshot import App, Artifact
from platformd.domain.task import Task
from platformd.store.reader import TABLES, Reader

T = TypeVar("T", App, Artifact, Deployment, Task, Build)

_LARGEST_OFFSET = (1 << 63) - 1

# The names of the API and the columns behind them, by list.
_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "apps": {name: name for name in ("name", "namespace", "subdomain", "created_at", "updated_at")},
    "deployments": {
        **{name: name for name in ("created_at", "updated_at", "version", "status", "phase", "app_id")},
        "environment": "environment",
        "environment_slug": "environment",
    },
    "tasks": {name: name for name in ("created_at", "updated_at", "state", "slot", "deployment_id")},
    "artifacts": {name: name for name in ("created_at", "name", "size")},
    "builds": {name: name for name in ("created_at", "updated_at", "state", "environment")},
}

SORTS: Mapping[str, tuple[str, ...]] = {name: tuple(columns) for name, columns in _COLUMNS.items()}
SORT_ORDERS = ("asc", "desc")
DEFAULT_SORT = "created_at"


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of a list, from 1, in which order; `sort_by` is one of `SORTS`, ties go by id."""

    page: int = 1
    page_size: int = 20
    sort_by: str = DEFAULT_SORT
    sort_order: str = "desc"


def page_of(reader: Reader, kind: type[T], page: Page, filters: Mapping[str, object]) -> tuple[list[T], int]:
    """The records of one page and how many there are in all; `filters` are columns and values, None is no filter."""
    table = TABLES[kind]
    given = {column: value for column, value in filters.items() if value is not None}
    where = "WHERE " + " AND ".join(f"{column} = ?" for column in given) if given else ""
    (total,) = reader.row(f"SELECT count(*) FROM {table} {where}", *given.values())
    column = _COLUMNS[table][page.sort_by]
    order = "ASC" if page.sort_order == "asc" else "DESC"
    offset = min((page.page - 1) * page.page_size, _LARGEST_OFFSET)
    sorting = f"ORDER BY {column} {order}, id {order}"
    # Ids first: sorting and skipping then move no snapshots, and mostly read an index only.
    clause = f"WHERE id IN (SELECT id FROM {table} {where} {sorting} LIMIT ? OFFSET ?) {sorting}"
    return list(reader.all(kind, clause, *given.values(), page.page_size, offset)), total


def versions_below(
    reader: Reader, app_id: str, version: int | None, limit: int
) -> tuple[list[Deployment], int | None]:
    """An app's deployments, newest first, at most `limit` of those below `version`; and the last version among them if
    there are more."""
    below = _LARGEST_OFFSET if version is None else min(version, _LARGEST_OFFSET)
    where = "WHERE app_id = ? AND version < ? ORDER BY version DESC LIMIT ?"
    versions = reader.rows(f"SELECT version FROM deployments {where}", app_id, below, limit + 1)
    records = list(reader.all(Deployment, where, app_id, below, limit))
    return records, versions[limit - 1][0] if len(versions) > limit else None
