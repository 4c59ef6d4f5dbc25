"""What supervisor tooling sees and does: every actor with its state and last failure, dormant ones too; restarts,
resumptions, dead letters.

Called by handlers through their context. Lists run on threads (`dormant` rows are read), the rest on the loop's.
"""

from __future__ import annotations

from typing import Any

from actors.dead_letters import DeadLetters, KeptLetter
from actors.directory import ActorInfo, Directory
from actors.mailbox import State
from actors.messages import Key
from platformd.domain.deployment.state import Deployment
from platformd.domain.task import Task
from platformd.errors import InvalidState, NotFound
from platformd.shown import timestamp, timestamp_or_none
from platformd.store import Store

KINDS = ("deployment", "task")
DORMANT = "dormant"
Json = dict[str, Any]


class Inspection:
    """`states` of an actor are those of its mailbox, and `dormant`: a row that nobody needs an actor for."""

    def __init__(self, directory: Directory, store: Store, letters: DeadLetters) -> None:
        self._directory = directory
        self._store = store
        self._letters = letters

    def actors(
        self, *, offset: int, limit: int, kind: str | None, state: str | None, app_id: str | None
    ) -> tuple[list[Json], int]:
        """A page of the actors and how many there are: the live ones, then deployments that are rows only."""
        live = [] if state == DORMANT else self._live(kind, state, app_id)
        page = [self._shown(info) for info in live[offset : offset + limit]]
        if state not in (None, DORMANT) or kind == "task":
            return page, len(live)
        awake = [key.id for key in self._directory.keys("deployment")]
        first = max(0, offset - len(live))
        ids, total = self._store.reader.dormant(awake, app_id, first, limit - len(page))
        return [*page, *(_dormant("deployment", id, None) for id in ids)], len(live) + total

    def actor(self, key: str) -> Json:
        """One of them by its key, as "deployment:…" or "task:…"; NotFound without actor and row."""
        parsed = _parsed(key)
        info = self._directory.find(parsed)
        if info is not None:
            return self._shown(info)
        row = self._row(parsed)
        parent = None if isinstance(row, Deployment) else str(Key("deployment", row.deployment_id))
        return _dormant(parsed.kind, parsed.id, parent)

    def restart(self, key: str) -> Json:
        """Replaces the actor between two messages; what is queued stays. One that is dormant is made."""
        parsed = self._known(key)
        try:
            self._directory.restart(parsed)
        except NotFound:
            self._directory.activate(parsed)
        return self.actor(key)

    def resume(self, key: str) -> Json:
        """Ends a quarantine; InvalidState when there is none."""
        parsed = self._known(key)
        if not self._directory.resume(parsed):
            raise InvalidState(f"{key} is not quarantined; there is nothing to resume")
        return self.actor(key)

    def app_of(self, key: str) -> str:
        """The app that the actor's object belongs to."""
        row = self._row(_parsed(key))
        return row.identity.app_id if isinstance(row, Deployment) else row.app_id

    def dead_letters(self, offset: int, limit: int) -> tuple[list[Json], int]:
        """Newest first, and how many are kept."""
        return [_letter(kept) for kept in self._letters.page(offset, limit)], len(self._letters)

    def _live(self, kind: str | None, state: str | None, app_id: str | None) -> list[ActorInfo]:
        infos = self._directory.page(kind, 0, self._directory.count())
        if state is not None:
            infos = [info for info in infos if info.state.value == state]
        if app_id is not None:
            infos = [info for info in infos if self._belongs(info.key, app_id)]
        return infos

    def _belongs(self, key: Key, app_id: str) -> bool:
        try:
            return self.app_of(str(key)) == app_id
        except NotFound:
            return False

    def _shown(self, info: ActorInfo) -> Json:
        last = info.last_failure
        return {
            "key": str(info.key),
            "kind": info.key.kind,
            "id": info.key.id,
            "parent": info.about.get("parent"),
            "state": info.state.value,
            "quarantined": info.state is State.QUARANTINED,
            "mailbox": {"facts": info.facts, "commands": info.commands},
            "restarts": info.restarts,
            "last_failure": None
            if last is None
            else {"at": timestamp(last.at), "error": last.error, "message": last.message},
            "parked_since": timestamp_or_none(info.parked_since),
            "about": {name: value for name, value in info.about.items() if name != "parent"},
        }

    def _known(self, key: str) -> Key:
        parsed = _parsed(key)
        self._row(parsed)
        return parsed

    def _row(self, key: Key) -> Deployment | Task:
        row = self._store.deployment(key.id) if key.kind == "deployment" else self._store.task(key.id)
        if row is None:
            raise NotFound(f"there is no actor {key}", code="ACTOR_NOT_FOUND")
        return row


def _parsed(key: str) -> Key:
    kind, _, id = key.partition(":")
    if kind not in KINDS:
        raise NotFound(
            f"there is no actor {key[:80]!r}; keys are deployment:ID or task:ID", code="ACTOR_NOT_FOUND"
        )
    return Key(kind, id.lower())


def _dormant(kind: str, id: str, parent: str | None) -> Json:
    return {
        "key": f"{kind}:{id}",
        "kind": kind,
        "id": id,
        "parent": parent,
        "state": DORMANT,
        "quarantined": False,
        "mailbox": {"facts": 0, "commands": 0},
        "restarts": 0,
        "last_failure": None,
        "parked_since": None,
        "about": {},
    }


def _letter(kept: KeptLetter) -> Json:
    return {
        "number": kept.number,
        "key": str(kept.key),
        "message": kept.message,
        "content": kept.content,
        "reason": kept.reason.value,
        "error": kept.error,
        "traceback": kept.traceback,
        "at": timestamp(kept.at),
    }
