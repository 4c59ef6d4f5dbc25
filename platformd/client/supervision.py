"""Calls of those who look after a server: what happened, the actors, dead letters, tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from platformd.client import streams
from platformd.client.calls import Calls
from platformd.client.objects import Actor, DeadLetter, Event, Token


class SupervisionCalls(Calls):
    """Mixed into the clients."""

    async def events(
        self,
        *,
        app_id: str | None = None,
        deployment_id: str | None = None,
        types: str | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """The last `limit` (at most 1000), or the first of those after the id `after`; oldest first.

        `types` is such as "task.exited", or "task." for all that begin so; several are separated by commas.
        """
        found: list[Event] = await self._transport.json(
            "GET",
            _events_of(deployment_id),
            query={**_wanted(app_id, deployment_id, types), "after": after, "limit": limit},
        )
        return found

    async def follow_events(
        self,
        *,
        app_id: str | None = None,
        deployment_id: str | None = None,
        types: str | None = None,
        tail: int = 0,
        after: int | None = None,
        on_gap: Callable[[str], None] | None = None,
    ) -> AsyncIterator[Event]:
        """Events as they happen, across restarts of the server; endless. After the id `after`, else from the last
        `tail` on."""
        async for event in streams.entries(
            self._transport,
            _events_of(deployment_id),
            query=_wanted(app_id, deployment_id, types),
            tail=tail,
            after=after,
            patience_secs=self._patience,
            on_gap=on_gap or streams.unheard,
        ):
            yield event

    async def actors(self, kind: str | None = None, state: str | None = None) -> AsyncIterator[Actor]:
        """Live ones first, then deployments that are rows only (`dormant`)."""
        async for actor in self._pages("/actors", kind=kind, state=state):
            yield actor

    async def restart_actor(self, key: str) -> Actor:
        """Replaced between two messages: what waits stays."""
        actor: Actor = await self._post(f"/actors/{key}/restart")
        return actor

    async def resume_actor(self, key: str) -> Actor:
        """The end of its quarantine."""
        actor: Actor = await self._post(f"/actors/{key}/resume")
        return actor

    async def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """Messages that no actor handled, newest first."""
        async for letter in self._pages("/dead-letters"):
            yield letter

    async def tokens(self) -> AsyncIterator[Token]:
        """All there are, revoked ones too; without their secrets."""
        async for token in self._pages("/tokens"):
            yield token

    async def create_token(self, /, name: str, **fields: Any) -> Token:
        """`fields`: scope, app_id. The answer has the secret, as `token`, this once."""
        token: Token = await self._post("/tokens", {"name": name, **fields})
        return token

    async def revoke_token(self, id: str) -> None:
        """For good."""
        await self._change("DELETE", f"/tokens/{id}")


def _events_of(deployment_id: str | None) -> str:
    return "/events" if deployment_id is None else f"/deployments/{deployment_id}/events"


def _wanted(app_id: str | None, deployment_id: str | None, types: str | None) -> dict[str, object]:
    return {"app_id": None if deployment_id else app_id, "type": types}
