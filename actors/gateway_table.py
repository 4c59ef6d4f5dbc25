"""The gateway's table: from rows and routings to the gateway's words.

Called by `traffic`. Reads the store from any thread; a full table is read, encoded and sent a piece at a time, since
its peak would stay in the heap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from operator import attrgetter
from typing import TypeVar

from platformd import clock
from platformd.domain.deployment.routing import Refusal, Routing, Target, routing
from platformd.domain.task import TaskPhase
from platformd.gateway import protocol
from platformd.store import Store

T = TypeVar("T")
PORTION = 500


def everything(store: Store) -> Iterator[protocol.Message]:
    """The orders of a full table: addresses, configurations, and who has tasks that may receive requests. A task that
    is not running by its own row, because it ended with the last boot or is just being stopped, may not."""
    yield from hosts(store)
    running = {task.id for task in store.live_tasks() if task.phase is TaskPhase.RUNNING}
    for states in _portions(store.deployments()):
        routings = {state.id: routing(state) for state in states}
        yield protocol.Routes(deployments={key: config(now) for key, now in routings.items()})
        for deployment_id, now in routings.items():
            open_ones = tuple(target for target in now.targets if target.task_id in running)
            if open_ones:
                yield targets(deployment_id, open_ones)


def hosts(store: Store, app_id: str | None = None) -> Iterator[protocol.Routes]:
    """The addresses of one app, or of all."""
    for portion in _portions(_each_host(store, app_id)):
        yield protocol.Routes(hosts=dict(portion))


def _each_host(store: Store, app_id: str | None) -> Iterator[tuple[str, str | protocol.HostRefusal | None]]:
    for _, routes_of_app in itertools.groupby(store.routes(app_id), key=attrgetter("app_id")):
        routes = list(routes_of_app)
        names = [route.hostname for route in routes if route.deployment_id is not None]
        for route in routes:
            yield route.hostname, route.deployment_id or _nobody(names, route.current_version)


def _portions(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while portion := list(itertools.islice(rest, PORTION)):
        yield portion


def _nobody(names: Iterable[str], current_version: int | None) -> protocol.HostRefusal:
    """503 where there was a deployment once, 404 where there never was one."""
    return protocol.HostRefusal(status=404 if current_version is None else 503, names=tuple(names))


def targets(deployment_id: str, targets: Iterable[Target]) -> protocol.Targets:
    specs = (
        protocol.TargetSpec(task=target.task_id, address=(target.host, target.port), slow_start=True)
        for target in targets
    )
    return protocol.Targets(deployment_id, tuple(specs))


def config(routing: Routing) -> protocol.Config:
    return protocol.Config(
        wakeable=routing.refusal is None,
        refusal=_refusal(routing.refusal),
        wake_timeout=routing.wake_timeout_secs,
        queue_limit=routing.queue_limit,
        concurrency=routing.concurrency,
        no_wake=tuple(
            protocol.NoWake(rule.path or "", (rule.user_agent or "").lower()) for rule in routing.no_wake
        ),
        autoscaled=routing.autoscaled,
    )


def _refusal(refusal: Refusal | None) -> protocol.Refusal | None:
    if refusal is None:
        return None
    return protocol.Refusal(
        status=refusal.status,
        code=refusal.code,
        detail=refusal.detail,
        retry_after=seconds_until(refusal.retry_at),
    )


def seconds_until(instant: datetime | None) -> int | None:
    """Whole seconds for Retry-After, at least 1."""
    if instant is None:
        return None
    return max(1, math.ceil((instant - clock.steady()).total_seconds()))
