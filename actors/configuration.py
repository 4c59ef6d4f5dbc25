"""Changing what belongs to an app beside its deployments: stored, and the gateway told of addresses.

Called by handlers on the loop's thread; each answer is durable. What is stored is announced by the commit itself, so a
caller that leaves meanwhile leaves nothing half done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import TypeVar

from actors.world import Traffic
from platformd.domain.operations import Operation
from platformd.store import Store

T = TypeVar("T")


class Configuration:
    def __init__(self, store: Store, traffic: Traffic) -> None:
        self._store = store
        self._traffic = traffic

    async def commit(self, operation: Operation[T]) -> T:
        """The result once it is durable."""
        return await asyncio.wrap_future(self._store.commit(operation))

    async def commit_hosts(
        self, operation: Operation[T], app_id: str, gone: Callable[[T], Collection[str]] = lambda _: ()
    ) -> T:
        """As `commit`, for what changes an app's addresses; `gone` are those that lead nowhere any more."""
        stored = self._store.commit(operation)

        def announce(done: Future[T]) -> None:
            if done.exception() is None:
                self._traffic.publish_hosts(app_id)
                self._traffic.forget_hosts(tuple(gone(done.result())))

        stored.add_done_callback(announce)
        return await asyncio.wrap_future(stored)
