"""What supervisor tooling looks at and does: actors, dead letters, the machine."""

from __future__ import annotations

from typing import Any

from msgspec import UnsetType

from handlers import answers_supervision as answers
from handlers.base import Handler
from handlers.operation import Scope, operation
from handlers.schemas_supervision import ActorsQuery, LettersQuery
from handlers.sources import on_thread


class ActorsHandler(Handler):
    """`/actors`."""

    BOUND_CALLERS = True

    @operation("List the actors", Scope.READ, query=ActorsQuery, answers={200: answers.Actors})
    async def get(self) -> None:
        """Live ones first, longest alive first, then deployments that are rows only (`dormant`); a task's `parent` is
        its deployment's key."""
        query = self.query(ActorsQuery)
        page = await on_thread(
            self.context.supervision.actors,
            offset=(query.page - 1) * query.page_size,
            limit=query.page_size,
            kind=None if isinstance(query.kind, UnsetType) else query.kind,
            state=None if isinstance(query.state, UnsetType) else query.state,
            app_id=self.caller.app_id,
        )
        self.answer(_page(page, query))


class ActorHandler(Handler):
    """`/actors/:key`."""

    BOUND_CALLERS = True

    @operation(
        "Get one actor",
        Scope.READ,
        answers={200: answers.Actor},
        problems=("403 TOKEN_BOUND_TO_APP", "404 ACTOR_NOT_FOUND"),
    )
    def get(self, key: str) -> None:
        """By its key, as `deployment:ID` or `task:ID`."""
        self.no_query()
        if self.caller.app_id is not None:
            self.admit_app(self.context.supervision.app_of(key))
        self.answer(self.read(self.context.supervision.actor, key))


class RestartActorHandler(Handler):
    """`/actors/:key/restart`."""

    BOUND_CALLERS = True

    @operation(
        "Replace an actor",
        Scope.ADMIN,
        answers={202: answers.Actor},
        problems=("403 TOKEN_BOUND_TO_APP", "404 ACTOR_NOT_FOUND"),
    )
    def post(self, key: str) -> None:
        """Between two messages: what is queued stays, and whatever it looks after goes on. Ends a quarantine, too."""
        self._order(key, self.context.supervision.restart)

    def _order(self, key: str, order: Any) -> None:
        self.no_query()
        self.no_body()
        self.admit_app(self.context.supervision.app_of(key))
        self.answer(order(key), 202)


class ResumeActorHandler(RestartActorHandler):
    """`/actors/:key/resume`."""

    @operation(
        "End an actor's quarantine",
        Scope.ADMIN,
        answers={202: answers.Actor},
        problems=("403 TOKEN_BOUND_TO_APP", "404 ACTOR_NOT_FOUND", "409 INVALID_STATE"),
    )
    def post(self, key: str) -> None:
        """It starts from its last snapshot, with its budget of failures whole again."""
        self._order(key, self.context.supervision.resume)


class DeadLettersHandler(Handler):
    """`/dead-letters`."""

    @operation(
        "List messages that no actor handled",
        Scope.READ,
        query=LettersQuery,
        answers={200: answers.DeadLetters},
        problems=("403 TOKEN_BOUND_TO_APP",),
    )
    def get(self) -> None:
        """Newest first, without the secrets they carried. The last 500 since the start are kept."""
        query = self.query(LettersQuery)
        self.admit_app(None)
        offset = (query.page - 1) * query.page_size
        self.answer(_page(self.context.supervision.dead_letters(offset, query.page_size), query))


class NodesHandler(Handler):
    """`/nodes`."""

    @operation("List the machines", Scope.READ, answers={200: answers.Nodes})
    async def get(self) -> None:
        """There is one: this one."""
        self.no_query()
        self.answer({"data": [await on_thread(self.context.node)]})


def _page(page: tuple[list[Any], int], query: LettersQuery) -> dict[str, Any]:
    data, total = page
    return {"data": data, "total": total, "page": query.page, "page_size": query.page_size}
