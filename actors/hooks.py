"""What GitHub sent becomes builds and removals: stored in one piece, then whoever does the work hears of it.

Called by the webhook handler on the loop's thread. What is stored is announced by the commit itself; should the server
die first, recovery finds the builds and `Previews.resume` the removals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from actors.build_requests import news
from actors.commits import Commits
from platformd import clock
from platformd.domain.build.orders import Delivered
from platformd.domain.deliveries import AcceptDelivery, Accepted, Received
from platformd.domain.notice import Notice, reason_data
from platformd.domain.snapshot import Reason
from platformd.domain.spec import DeploymentSpec
from platformd.domain.webhook import Delivery, Outcome


class Endings(Protocol):
    def remove(self, closed: Received) -> None:
        """Begin to take the preview of a closed pull request away; called on the loop's thread."""


class Hooks:
    """Made on the loop's thread. `announce` tells the actors of a build that was stored."""

    def __init__(
        self,
        commits: Commits,
        previews: Endings,
        announce: Callable[[Delivered], None],
        *,
        domain: str,
        build_timeout_secs: float,
    ) -> None:
        self._commits = commits
        self._previews = previews
        self._announce_build = announce
        self._domain = domain
        self._build_timeout_secs = build_timeout_secs
        self._loop = asyncio.get_running_loop()

    async def accept(
        self, delivery: Delivery, specs: Mapping[str, DeploymentSpec | Reason]
    ) -> Sequence[Received]:
        """What came of `delivery` in each app of `specs`, which says what to deploy there."""
        operation = AcceptDelivery(
            app_ids=tuple(specs),
            delivery=delivery,
            domain=self._domain,
            build_timeout_secs=self._build_timeout_secs,
            specs=specs,
            at=clock.now(),
        )
        accepted = await self._commits(operation, self._notices, then=self._announce)
        return accepted.received

    def _announce(self, accepted: Accepted) -> None:
        """On the writer's thread: a caller that leaves meanwhile leaves nothing half done."""
        for build in accepted.builds:
            self._announce_build(build)
        for received in accepted.received:
            if received.outcome is Outcome.REMOVING:
                self._loop.call_soon_threadsafe(self._previews.remove, received)

    def _notices(self, accepted: Accepted) -> list[Notice]:
        new = [_received(received) for received in accepted.received if not received.known]
        return [*new, *(notice for asked in accepted.builds for notice in news(asked))]


def _received(received: Received) -> Notice:
    return Notice(
        kind="webhook",
        type="webhook.received",
        app_id=received.app_id,
        build_id=received.build_id,
        data={
            "delivery_id": received.id,
            "guid": received.guid,
            "event": received.event,
            "action": received.action,
            "ref": received.ref,
            "commit": received.commit_sha,
            "verdict": received.outcome.value,
            "reason": reason_data(received.reason),
            "environment": received.environment,
        },
    )
