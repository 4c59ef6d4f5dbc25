"""One request's writes: durable, announced by the commit itself, and done once where the request has a key.

Made by `creations` and `configuration`, which handlers call on the loop's thread. A caller that leaves meanwhile leaves
nothing half done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from actors.world import crash_point
from platformd import clock
from platformd.domain.notice import Notice
from platformd.domain.operations import Operation
from platformd.domain.requests import RequestKey
from platformd.domain.retries import Made, Once
from platformd.store import Store

T = TypeVar("T")


class Commits:
    """`key` is that of the request, None when it has none."""

    def __init__(self, store: Store, key: RequestKey | None = None) -> None:
        self._store = store
        self._key = key

    def under(self, key: RequestKey | None) -> Commits:
        """The same for a request with this key."""
        return Commits(self._store, key)

    async def __call__(
        self,
        operation: Operation[T],
        notice: Callable[[T], Notice | Sequence[Notice]] | None = None,
        then: Callable[[T], None] | None = None,
    ) -> T:
        """The result once it is durable. Of a new one `notice` is published and `then`, on the writer's thread, called;
        of one that was made before under this key neither."""

        def notices(stored: T | Made[T]) -> Sequence[Notice]:
            made = _made(stored)
            if notice is None or not made.new:
                return ()
            told = notice(made.result)
            return (told,) if isinstance(told, Notice) else told

        def announce(done: Future[T | Made[T]]) -> None:
            if then is not None and done.exception() is None and (made := _made(done.result())).new:
                then(made.result)

        name = type(operation).__name__
        crash_point(f"before:{name}")
        stored: Future[T | Made[T]] = self._store.commit(self._once(operation), notices)
        stored.add_done_callback(announce)
        made = _made(await asyncio.wrap_future(stored))
        crash_point(f"after:{name}")
        return made.result

    def _once(self, operation: Operation[T]) -> Operation[T | Made[T]]:
        if self._key is None:
            return operation
        return Once(operation=operation, key=self._key, at=clock.now())


def _made(stored: T | Made[T]) -> Made[T]:
    return stored if isinstance(stored, Made) else Made(stored, new=True)
