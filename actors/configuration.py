"""Changing what belongs to an app beside its deployments: stored, and the gateway told of addresses.

Called by handlers on the loop's thread; each answer is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from actors.commits import Commits
from actors.world import Traffic
from platformd.domain.operations import Operation
from platformd.domain.requests import RequestKey

T = TypeVar("T")


class Configuration:
    def __init__(self, commits: Commits, traffic: Traffic) -> None:
        self._commits = commits
        self._traffic = traffic

    def under(self, key: RequestKey | None) -> Configuration:
        """The same for a request with this key, which changes one thing, once."""
        return Configuration(self._commits.under(key), self._traffic)

    async def commit(self, operation: Operation[T]) -> T:
        """The result once it is durable."""
        return await self._commits(operation)

    async def commit_hosts(
        self, operation: Operation[T], app_id: str, gone: Callable[[T], Collection[str]] = lambda _: ()
    ) -> T:
        """As `commit`, for what changes an app's addresses; `gone` are those that lead nowhere any more."""

        def announce(result: T) -> None:
            self._traffic.publish_hosts(app_id)
            self._traffic.forget_hosts(tuple(gone(result)))

        return await self._commits(operation, then=announce)
