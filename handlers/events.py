"""What happened, live and stored: of everything, or of one deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import UnsetType

from handlers import answers
from handlers.answering import JSON
from handlers.context import Context
from handlers.following import Following
from handlers.operation import Content, Scope, operation
from handlers.schemas_events import DeploymentEventsQuery, EventsQuery
from handlers.sources import Line, Portion, on_thread
from handlers.sse import Format
from platformd.domain.notice import Filter

STREAM_OR_LIST = Content((Format.SSE.value, Format.NDJSON.value, JSON), answers.Event)


@dataclass(frozen=True, slots=True)
class EventSource:
    """The events that `filter` wants. They have no end."""

    filter: Filter

    async def read(self, context: Context, after: int, limit: int) -> Portion:
        return Portion(*await on_thread(context.views.events_after, self.filter, after, limit))

    async def newest(self, context: Context, count: int) -> list[Line]:
        return await on_thread(context.views.newest_events, self.filter, count)

    async def last_id(self, context: Context) -> int:
        return await on_thread(context.views.last_event_id)

    async def oldest_after_gap(self, context: Context, after: int) -> int | None:
        return await on_thread(context.views.oldest_event_after_gap, after)

    async def lost(self, context: Context) -> int:
        return await on_thread(context.views.last_event_lost)

    async def changed(self, context: Context, after: int, within: float) -> bool:
        return await context.hub.wait_event(self.filter, after, within)

    def ended(self, _: Context, /) -> dict[str, Any] | None:
        return None


class EventsHandler(Following):
    """`/events`: a stream unless `Accept` asks for JSON."""

    BOUND_CALLERS = True

    @operation(
        "Follow what happens",
        Scope.READ,
        query=EventsQuery,
        answers={200: STREAM_OR_LIST},
        problems=("403 TOKEN_BOUND_TO_APP",),
    )
    async def get(self) -> None:
        """Server-sent events without names, so that `onmessage` sees all of them, lines of JSON with
        `Accept: application/x-ndjson`, or with `Accept: application/json` an array, oldest first."""
        query = self.query(EventsQuery)
        app_id = self.caller.app_id if isinstance(query.app_id, UnsetType) else query.app_id.lower()
        if app_id is not None:
            self.admit_app(app_id)
        deployment_id = None if isinstance(query.deployment_id, UnsetType) else query.deployment_id.lower()
        await self.show(Filter(app_id=app_id, deployment_id=deployment_id, types=_types(query)), query)

    async def show(self, filter: Filter, query: DeploymentEventsQuery, *, listed: bool = False) -> None:
        """A stream or, where nothing but the caller's `Accept` says otherwise, what `listed` says."""
        source = EventSource(filter)
        if self._wants_list(listed):
            await self._list(source, query)
        else:
            await self.stream(source, tail=query.tail, after=query.after)

    def _wants_list(self, listed: bool) -> bool:
        accept = self.request.headers.get("Accept", "").lower()
        if Format.SSE.value in accept or Format.NDJSON.value in accept:
            return False
        return listed or JSON in accept

    async def _list(self, source: EventSource, query: DeploymentEventsQuery) -> None:
        if isinstance(query.after, UnsetType):
            lines = await self.durable(source.newest(self.context, query.limit))
        else:
            lines = (await self.durable(source.read(self.context, query.after, query.limit))).lines
        self.set_header("Content-Type", JSON)
        self.finish(b"[" + b",".join(data for _, data in lines) + b"]")


class DeploymentEventsHandler(EventsHandler):
    """`/deployments/:id/events`: a list unless `Accept` asks for a stream."""

    @operation(
        "List or follow what happens to a deployment",
        Scope.READ,
        query=DeploymentEventsQuery,
        answers={200: STREAM_OR_LIST},
        problems=("403 TOKEN_BOUND_TO_APP", "404 DEPLOYMENT_NOT_FOUND"),
    )
    async def get(self, deployment_id: str) -> None:  # type: ignore[override]
        """A JSON array, oldest first; with `Accept: text/event-stream` or `application/x-ndjson` a stream."""
        query = self.query(DeploymentEventsQuery)
        deployment = self.read(self.context.views.deployment, deployment_id)
        self.admit_app(deployment["app_id"])
        await self.show(Filter(deployment_id=deployment_id, types=_types(query)), query, listed=True)


def _types(query: DeploymentEventsQuery) -> frozenset[str] | None:
    return None if isinstance(query.type, UnsetType) else frozenset(query.type.split(","))
