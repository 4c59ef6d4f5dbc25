"""An environment's address as one deployment's actor minds it: claimed, released, and everybody told what came of it.

Used by `actors.deployment` within its turns. Whom the address leads to is a row that the store decides about; what the
store answered comes back as a message, so that acting on it is fenced and repeated like everything an actor does.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from actors.messages import Key, Lane, ShuttingDown
from actors.world import World
from platformd import clock
from platformd.domain import events
from platformd.domain.deployment.state import Deployment, Goal, Status
from platformd.domain.operations import Claim, ClaimCurrent, Operation, ReleaseCurrent

TIMER = "address"
RETRY = timedelta(seconds=5)
_log = structlog.get_logger("deployment")


@dataclass(frozen=True, slots=True)
class AddressAnswer:
    """What the store made of a claim (a `Claim`) or of a release (True when the address led here), or why nothing."""

    outcome: Claim | bool | BaseException


class Address:
    """`asked` is set while the store has not answered yet."""

    def __init__(self, key: Key, world: World) -> None:
        self._key = key
        self._world = world
        self.asked = False

    def claim(self, state: Deployment) -> None:
        identity = state.identity
        operation = ClaimCurrent(
            deployment_id=state.id,
            app_id=identity.app_id,
            environment=identity.environment,
            version=identity.version,
            keep=self._world.keep_versions,
        )
        self._ask(operation)

    def release(self, state: Deployment) -> None:
        identity = state.identity
        operation = ReleaseCurrent(
            deployment_id=state.id, app_id=identity.app_id, environment=identity.environment
        )
        self._ask(operation)

    def answered(self, state: Deployment, answer: AddressAnswer) -> None:
        """Publish what is decided and tell winner and losers. Nothing decided: ask again in a while."""
        outcome, self.asked = answer.outcome, False
        if isinstance(outcome, BaseException):
            _log.warning("the address stays as it is for now", deployment_id=state.id, error=str(outcome))
            self._world.timers.set(self._key, TIMER, clock.steady() + RETRY)
            return
        self._world.traffic.publish_hosts(state.identity.app_id)
        if isinstance(outcome, Claim):
            self._spread(state, outcome)

    def pursue(self, state: Deployment) -> None:
        """What should have been ordered or heard, had nothing failed in between, is now."""
        if self.asked:
            return
        if state.goal is Goal.FINISHED:
            if self._holder(state).deployment_id == state.id:
                self.release(state)
        elif state.current:
            holder = self._holder(state)
            if holder.version is not None and holder.version > state.identity.version:
                self._tell(state.id, events.Superseded(holder.deployment_id, holder.version))
        elif state.status is Status.RUNNING and state.superseded_by is None:
            self.claim(state)

    def _holder(self, state: Deployment) -> Any:
        return self._world.store.current(state.identity.app_id, state.identity.environment)

    def _spread(self, state: Deployment, claim: Claim) -> None:
        if not claim.won:
            self._tell(state.id, events.Superseded(claim.current, claim.current_version))
            return
        self._tell(state.id, events.BecameCurrent())
        losers = {*claim.older_pending, *([claim.previous] if claim.previous else [])} - {state.id}
        for loser in losers:
            self._tell(loser, events.Superseded(state.id, state.identity.version))
        for deployment_id in claim.retired:
            self._tell(deployment_id, events.Retired(state.identity.version))

    def _ask(self, operation: Operation[Any]) -> None:
        self.asked = True
        self._world.store.commit(operation).add_done_callback(self._answer)

    def _answer(self, done: Future[Any]) -> None:
        """On the writer's thread."""
        with contextlib.suppress(ShuttingDown):  # the next start looks again
            self._tell(self._key.id, AddressAnswer(done.exception() or done.result()))

    def _tell(self, deployment_id: str, fact: object) -> None:
        self._world.directory.tell(Key("deployment", deployment_id), fact, Lane.FACT)
