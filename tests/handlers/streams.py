"""An open stream of a deployment's output, as a reader has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.handlers.client import EventSource
from tests.handlers.served import Served


@asynccontextmanager
async def streaming(
    api: Served, deployment: Any, query: str = "", **headers: str
) -> AsyncIterator[EventSource]:
    """An open stream of the deployment."""
    sent = {"Accept": "text/event-stream"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    path = f"/api/v1/deployments/{deployment['id']}/logs/stream{query}"
    async with api.client.connected() as connection:
        await connection.send(api.client.request("GET", path, headers=sent))
        status, seen = await connection.head()
        assert (status, seen["content-type"]) == (200, "text/event-stream"), seen
        assert seen["cache-control"] == "no-store"
        yield EventSource(connection)


def texts(events: list[Any]) -> list[str]:
    return [event.data["message"] for event in events]
