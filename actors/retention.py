"""Forgets what is old: soon after the start, then every hour, portion by portion, on a thread.

The composition root says what there is to forget and runs `watch` on the loop. Whatever ends in between, the next run
goes on: a row goes before what only it leads to, and what no row leads to is found by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import structlog

from platformd import clock
from platformd.domain.build.orders import ForgetBuilds
from platformd.domain.deliveries import ForgetDeliveries
from platformd.domain.operations import ForgetEvents
from platformd.domain.policy import ANSWERS_KEPT, HISTORY_KEPT
from platformd.domain.retention import ForgetArtifacts, ForgetDeployments, ForgetTasks
from platformd.domain.retries import ForgetAnswers
from platformd.store import Store
from platformd.store.building import old_builds
from platformd.store.expiring import old_deployments

FIRST_SECS = 60.0
EVERY_SECS = 3600.0
PORTION = 500
_log = structlog.get_logger("retention")


@dataclass(frozen=True, slots=True)
class Expiring:
    """A kind of thing that is not kept for ever. `forget(now)` drops a portion of what is too old and says how much
    that was, 0 when nothing is left; it may block."""

    name: str
    forget: Callable[[datetime], int]


class Retention:
    """`kinds` in the order in which they go. One that fails is tried again with the next run."""

    def __init__(self, kinds: Iterable[Expiring]) -> None:
        self._kinds = tuple(kinds)
        self._ending = threading.Event()

    def run(self, now: datetime) -> dict[str, int]:
        """Forget all that is too old at `now`: how much of each kind there was. Any thread, one at a time."""
        gone = {kind.name: self._forget(kind, now) for kind in self._kinds}
        found = {name: count for name, count in gone.items() if count}
        if found:
            _log.info("forgot what is old", **found)
        return found

    async def watch(self) -> None:
        """For ever."""
        try:
            await asyncio.sleep(FIRST_SECS)
            while True:
                await asyncio.to_thread(self.run, clock.now())
                await asyncio.sleep(EVERY_SECS)
        finally:
            self._ending.set()

    def _forget(self, kind: Expiring, now: datetime) -> int:
        total = 0
        try:
            while not self._ending.is_set() and (count := kind.forget(now)):
                total += count
        except Exception:  # a full disk, a store that is closing: there is a next time
            _log.warning("cannot forget what is old yet", kind=kind.name, exc_info=True)
        return total


def of_rows(
    store: Store, keep_versions: int, gone: Callable[[list[str], tuple[str, ...]], None]
) -> tuple[Expiring, ...]:
    """What is rows. `gone` hears, on the same thread, of deployments and builds that were dropped and of hostnames; as
    many as `keep_versions` beside the current one stay in each environment for rollbacks."""

    def answers(now: datetime) -> int:
        return store.commit(ForgetAnswers(before=now - ANSWERS_KEPT, most=PORTION)).result()

    def events(now: datetime) -> int:
        return store.commit(ForgetEvents(before=now - HISTORY_KEPT, most=PORTION)).result()

    def webhooks(now: datetime) -> int:
        return store.commit(ForgetDeliveries(before=now - HISTORY_KEPT, most=PORTION)).result()

    def tasks(now: datetime) -> int:
        return store.commit(ForgetTasks(before=now - HISTORY_KEPT, most=PORTION)).result()

    def deployments(now: datetime) -> int:
        ids = old_deployments(store.reader, now - HISTORY_KEPT, keep_versions + 1, PORTION)
        if ids:
            gone(ids, store.commit(ForgetDeployments(ids)).result())
        return len(ids)

    def builds(now: datetime) -> int:
        ids = old_builds(store.reader, now - HISTORY_KEPT, PORTION)
        if ids:
            store.commit(ForgetBuilds(ids)).result()
            gone(ids, ())
        return len(ids)

    def artifacts(now: datetime) -> int:
        return store.commit(ForgetArtifacts(before=now - HISTORY_KEPT, most=PORTION)).result()

    return (
        Expiring("answers", answers),
        Expiring("events", events),
        Expiring("webhooks", webhooks),
        Expiring("deployments", deployments),
        Expiring("tasks", tasks),
        Expiring("builds", builds),
        Expiring("artifacts", artifacts),
    )
