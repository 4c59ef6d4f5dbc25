"""What GitHub was told about commits, and what there is to tell. Writes on the writer's thread, reads on any."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from peewee import SqliteDatabase

from platformd.domain.build.state import Build
from platformd.domain.commit_status import KeepSaid, Said, State
from platformd.domain.deployment.state import Deployment
from platformd.store.codec import stamp
from platformd.store.reader import Reader

_KEEP = """
INSERT OR REPLACE INTO commit_statuses
(app_id, environment, commit_sha, build_id, state, settled, refusal, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_SAID = """
SELECT build_id, state, settled, refusal FROM commit_statuses
WHERE app_id = ? AND environment = ? AND commit_sha = ?
"""
_ATTEMPTS = """
WHERE app_id = ?1 AND environment = ?2 AND (commit_sha = ?3 OR id IN (
    SELECT build_id FROM webhook_deliveries WHERE app_id = ?1 AND environment = ?2 AND commit_sha = ?3))
ORDER BY created_at DESC, id DESC
"""
_SUBJECTS = """
SELECT app_id, environment, commit_sha FROM builds WHERE {which} AND commit_sha IS NOT NULL
UNION
SELECT app_id, environment, commit_sha FROM webhook_deliveries
WHERE commit_sha IS NOT NULL AND environment IS NOT NULL AND build_id IN (SELECT id FROM builds WHERE {which})
"""


class Subject(NamedTuple):
    """A commit in an environment of an app: what a status is about."""

    app_id: str
    environment: str
    commit_sha: str


def keep(operation: KeepSaid, database: SqliteDatabase) -> None:
    """See `KeepSaid`."""
    said = operation.said
    key = (operation.app_id, operation.environment, operation.commit_sha)
    facts = (said.build_id, said.state.value, int(said.settled), said.refusal, stamp(operation.at))
    database.execute_sql(_KEEP, (*key, *facts))


def said_of(reader: Reader, subject: Subject) -> Said | None:
    row = reader.row(_SAID, *subject)
    if row is None:
        return None
    build_id, state, settled, refusal = row
    return Said(build_id=build_id, state=State(state), settled=bool(settled), refusal=refusal)


def attempts_of(reader: Reader, subject: Subject) -> list[tuple[Build, Deployment | None]]:
    """The builds that were asked for with this commit in mind, or that built it, newest first."""
    builds = reader.all(Build, _ATTEMPTS, *subject)
    return [
        (build, reader.get(Deployment, build.deployment_id) if build.deployment_id else None)
        for build in list(builds)
    ]


def subjects_of_build(reader: Reader, build_id: str) -> Iterable[Subject]:
    return _subjects(reader, "id = ?1", build_id)


def subjects_of_deployment(reader: Reader, deployment_id: str) -> Iterable[Subject]:
    return _subjects(reader, "deployment_id = ?1", deployment_id)


def subjects_since(reader: Reader, at: datetime) -> Iterable[Subject]:
    """Of the builds that were asked for since then."""
    return _subjects(reader, "created_at >= ?1", stamp(at))


def _subjects(reader: Reader, which: str, value: str) -> list[Subject]:
    return [Subject(*row) for row in reader.rows(_SUBJECTS.format(which=which), value)]
