"""What GitHub sent: kept, decided on and carried out in one piece. Writes on the writer's thread, reads on any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from peewee import SqliteDatabase

from platformd.domain.build.orders import Delivered, RequestBuild, Wanted
from platformd.domain.build.state import Origin
from platformd.domain.configuration import DeleteEnvironment
from platformd.domain.deliveries import AcceptDelivery, Accepted, FinishPreview, ForgetDeliveries, Received
from platformd.domain.snapshot import Reason
from platformd.domain.source import Source
from platformd.domain.spec import DeploymentSpec
from platformd.domain.variables import without_secrets
from platformd.domain.webhook import (
    Happening,
    Outcome,
    Place,
    PullRequest,
    Push,
    Verdict,
    Wishes,
    decide,
    place_of,
)
from platformd.errors import NotFound, PlatformError
from platformd.ids import new_id
from platformd.store import building, configuring, deploying
from platformd.store.codec import encode, stamp
from platformd.store.lists import Page
from platformd.store.reader import Reader

MODEL_ENVIRONMENT = "development"
_reasons = msgspec.json.Decoder(Reason | None)

_FIELDS = """
id, app_id, delivery_guid, event, action, ref, commit_sha, verdict, reason, environment, build_id, received_at
"""
_KNOWN = f"SELECT {_FIELDS} FROM webhook_deliveries WHERE app_id = ? AND delivery_guid = ?"
_BY_ID = f"SELECT {_FIELDS} FROM webhook_deliveries WHERE id = ?"
_UNDER_WAY = (
    f"SELECT {_FIELDS} FROM webhook_deliveries WHERE verdict = '{Outcome.REMOVING}' ORDER BY received_at, id"
)
_NEW = f"""
INSERT INTO webhook_deliveries ({_FIELDS}, occurred_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PLACE = """
SELECT EXISTS (SELECT 1 FROM environments WHERE app_id = ?1 AND slug = ?2),
       (SELECT pull_request FROM environments WHERE app_id = ?1 AND slug = ?2),
       (SELECT held_at FROM environments WHERE app_id = ?1 AND slug = ?2),
       (SELECT max(occurred_at) FROM webhook_deliveries
        WHERE app_id = ?1 AND environment = ?2 AND verdict <> 'ignored')
"""
_MARK = "UPDATE environments SET pull_request = ? WHERE app_id = ? AND slug = ?"
_VARIABLES = "SELECT snapshot FROM variables WHERE app_id = ? AND environment = ?"
_COPY = """
INSERT OR REPLACE INTO variables (app_id, environment, revision, updated_at, snapshot) VALUES (?, ?, 1, ?, ?)
"""
_KEEP_OPEN = f"""
UPDATE webhook_deliveries SET verdict = '{Outcome.REMOVED}', reason = ?
WHERE app_id = ? AND environment = ? AND verdict = '{Outcome.REMOVING}'
"""
_SETTLE = "UPDATE webhook_deliveries SET verdict = ?, reason = ? WHERE id = ?"
_FORGET = f"""
DELETE FROM webhook_deliveries WHERE id IN (
    SELECT id FROM webhook_deliveries WHERE received_at < ? AND verdict <> '{Outcome.REMOVING}'
    ORDER BY received_at LIMIT ?)
"""
_FORGET_SAID = """
DELETE FROM commit_statuses WHERE (app_id, environment, commit_sha) IN (
    SELECT app_id, environment, commit_sha FROM commit_statuses WHERE updated_at < ? LIMIT ?)
"""
_REOPENED = Reason(code="REOPENED", message="the pull request was opened again before its preview was gone")


@dataclass(frozen=True, slots=True)
class _Done:
    """A verdict and what it led to."""

    verdict: Verdict
    asked: Delivered | None = None


def accept(operation: AcceptDelivery, database: SqliteDatabase) -> Accepted:
    """See `AcceptDelivery`."""
    received: list[Received] = []
    builds: list[Delivered] = []
    for app_id in operation.app_ids:
        known = database.execute_sql(_KNOWN, (app_id, operation.delivery.guid)).fetchone()
        if known is not None:
            received.append(replace(_received(known), known=True))
            continue
        source = building.present_source(database, app_id)
        if source is None:
            continue
        done = _carried_out(operation, source, database)
        received.append(_kept(operation, app_id, done, database))
        if done.asked is not None:
            builds.append(done.asked)
    return Accepted(received=tuple(received), builds=tuple(builds))


def _carried_out(operation: AcceptDelivery, source: Source, database: SqliteDatabase) -> _Done:
    happening = operation.delivery.happening
    wishes = Wishes(
        branch=source.branch,
        environment=source.environment,
        auto_deploy=source.auto_deploy,
        previews=source.previews,
    )
    slug = place_of(happening, wishes)
    place = Place() if slug is None else _place(database, source.app_id, slug)
    verdict = decide(happening, wishes, place)
    if verdict.outcome is not Outcome.BUILD:
        return _Done(verdict)
    spec = operation.specs[source.app_id]
    if isinstance(spec, Reason):
        return _Done(Verdict(outcome=Outcome.IGNORED, reason=spec))
    try:
        with database.savepoint():
            return _Done(verdict, _asked_for(operation, source, verdict, spec, place, database))
    except PlatformError as error:
        reason = Reason(code=error.code, message=error.message)
        return _Done(Verdict(outcome=Outcome.IGNORED, reason=reason))


def _place(database: SqliteDatabase, app_id: str, slug: str) -> Place:
    exists, pull_request, held_at, changed_at = database.execute_sql(_PLACE, (app_id, slug)).fetchone()
    return Place(
        exists=bool(exists),
        preview=pull_request is not None,
        held=held_at is not None,
        changed_at=None if changed_at is None else _instant(changed_at),
    )


def _asked_for(
    operation: AcceptDelivery,
    source: Source,
    verdict: Verdict,
    spec: DeploymentSpec,
    place: Place,
    database: SqliteDatabase,
) -> Delivered:
    slug, happening = str(verdict.environment), operation.delivery.happening
    if isinstance(happening, PullRequest):
        database.execute_sql(_KEEP_OPEN, (encode(_REOPENED).decode(), source.app_id, slug))
        if not place.exists:
            _make_preview(operation, source.app_id, slug, happening.number, database)
    wanted = Wanted(
        app_id=source.app_id,
        environment=slug,
        origin=Origin.WEBHOOK,
        branch=verdict.branch,
        spec=spec,
    )
    asked = RequestBuild(wanted=wanted, timeout_secs=operation.build_timeout_secs, at=operation.at)
    return building.request_build(asked, database)


def _make_preview(
    operation: AcceptDelivery, app_id: str, slug: str, number: int, database: SqliteDatabase
) -> None:
    """An environment of the pull request's own: what development has to say, but no secret."""
    app = configuring.found_app(database, app_id)
    taken = deploying.add_environment(database, app_id, app.subdomain, slug, operation.domain, operation.at)
    if taken is not None:
        raise deploying.hostname_taken(slug, taken)
    database.execute_sql(_MARK, (number, app_id, slug))
    row = database.execute_sql(_VARIABLES, (app_id, MODEL_ENVIRONMENT)).fetchone()
    plain = without_secrets(deploying.decode_variables(row[0] if row else None))
    if plain:
        database.execute_sql(_COPY, (app_id, slug, stamp(operation.at), encode(plain).decode()))


def _kept(operation: AcceptDelivery, app_id: str, done: _Done, database: SqliteDatabase) -> Received:
    delivery, verdict = operation.delivery, done.verdict
    ref, sha, occurred_at = _told(delivery.happening)
    received = Received(
        id=new_id(),
        app_id=app_id,
        guid=delivery.guid,
        event=delivery.event,
        action=delivery.action,
        ref=ref,
        commit_sha=sha,
        outcome=verdict.outcome,
        reason=verdict.reason,
        environment=verdict.environment,
        build_id=None if done.asked is None else done.asked.build.id,
        received_at=operation.at,
    )
    database.execute_sql(
        _NEW,
        (
            *(received.id, app_id, received.guid, received.event, received.action, ref, sha),
            *(received.outcome.value, _reason_text(received.reason), received.environment, received.build_id),
            *(stamp(received.received_at), None if occurred_at is None else stamp(occurred_at)),
        ),
    )
    return received


def _told(happening: Happening) -> tuple[str | None, str | None, datetime | None]:
    """(ref, commit, when) as the delivery says them."""
    match happening:
        case Push(ref=ref, sha=sha):
            return ref, sha, None
        case PullRequest(ref=ref, sha=sha, at=at):
            return ref, sha, at
        case _:
            return None, None, None


def finish_preview(operation: FinishPreview, database: SqliteDatabase) -> tuple[str, ...] | None:
    """See `FinishPreview`."""
    row = database.execute_sql(_BY_ID, (operation.delivery_id,)).fetchone()
    found = None if row is None else _received(row)
    if found is None or found.outcome is not Outcome.REMOVING:
        return None
    gone: tuple[str, ...] | None
    try:
        slug = str(found.environment)
        gone = configuring.delete_environment(DeleteEnvironment(app_id=found.app_id, slug=slug), database)
    except NotFound:
        gone = None
    database.execute_sql(_SETTLE, (Outcome.REMOVED.value, None, found.id))
    return gone


def forget(operation: ForgetDeliveries, database: SqliteDatabase) -> int:
    """See `ForgetDeliveries`."""
    bound = (stamp(operation.before), operation.most)
    return sum(int(database.execute_sql(sql, bound).rowcount) for sql in (_FORGET, _FORGET_SAID))


def under_way(reader: Reader) -> list[Received]:
    """The closed pull requests whose previews are not gone yet."""
    return [_received(row) for row in reader.rows(_UNDER_WAY)]


def still_closing(reader: Reader, delivery_id: str) -> bool:
    """Whether a preview is still to go."""
    sql = "SELECT 1 FROM webhook_deliveries WHERE id = ? AND verdict = ?"
    return reader.row(sql, delivery_id, Outcome.REMOVING.value) is not None


def deliveries_of(reader: Reader, app_id: str, page: Page) -> tuple[list[Received], int]:
    """A page of what came for an app, by when it came, and how many there are in all."""
    (total,) = reader.row("SELECT count(*) FROM webhook_deliveries WHERE app_id = ?", app_id)
    order = "ASC" if page.sort_order == "asc" else "DESC"
    rows = reader.rows(
        f"SELECT {_FIELDS} FROM webhook_deliveries WHERE app_id = ? "
        f"ORDER BY received_at {order}, id {order} LIMIT ? OFFSET ?",
        *(app_id, page.page_size, (page.page - 1) * page.page_size),
    )
    return [_received(row) for row in rows], total


def _received(row: Any) -> Received:
    id, app_id, guid, event, action, ref, sha, verdict, reason, environment, build_id, at = row
    return Received(
        id=id,
        app_id=app_id,
        guid=guid,
        event=event,
        action=action,
        ref=ref,
        commit_sha=sha,
        outcome=Outcome(verdict),
        reason=_reasons.decode(reason or "null"),
        environment=environment,
        build_id=build_id,
        received_at=_instant(at),
    )


def _reason_text(reason: Reason | None) -> str | None:
    return None if reason is None else encode(reason).decode()


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
