"""Knows which deployments are active, tells serve when one falls quiet, and takes tasks out of the balance.

Activity is a request in flight or held, an open WebSocket or stream; not a request that wakes nothing (`no_wake`).
Called by `server`, `upstream` and `hold` when it ends, by `control` for Close. An actor stops a task only after the
answer given here. Gateway loop thread only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platformd import clock
from platformd.gateway.protocol import Busy, Close, Closed, Quiet
from platformd.gateway.routes import Deployment, Task

if TYPE_CHECKING:
    from platformd.gateway.core import Gateway

QUIET_AFTER_NS = 1_000_000_000


@dataclass(slots=True, eq=False)
class _Drain:
    """Tasks out of balance whose ordinary requests are still waited for."""

    order: Close
    tasks: list[Task]
    deadline: float

    def over(self) -> bool:
        return self.void() or all(task.inflight <= task.streams for task in self.tasks)

    def void(self) -> bool:
        """Tasks that were only to rest have been told of again."""
        if self.order.mode == "drain" or not self.tasks:
            return False
        return any(task.id in self.order.tasks for task in self.tasks[0].deployment.tasks)


class Activity:
    """Ends of activity, quiet periods, and drains in progress."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ending: dict[Deployment, None] = {}
        self._drains: list[_Drain] = []

    def ended(self, deployment: Deployment) -> None:
        """Nothing is in flight or held any more."""
        deployment.last_active = clock.boot_ns()
        self._ending[deployment] = None

    def left(self, task: Task) -> None:
        """A request on a task that is out of balance ended, or became a stream."""
        if task.open:
            return
        task.deployment.left(task)
        if self._drains:
            self._finish_drains(0.0)

    def tick(self, now: float) -> None:
        """Report who has been quiet for a second; end drains whose time is up."""
        if self._ending:
            self._report_quiet()
        if self._drains:
            self._finish_drains(now)

    def close(self, order: Close) -> None:
        """Take tasks out for an idle stop, if nothing happened since, or to drain them."""
        table = self._gateway.table
        if order.mode == "drain":
            table.drain(order.deployment, order.tasks)
        deployment = table.deployments.get(order.deployment)
        if deployment is None:
            self._closed(order)
            return
        if order.mode == "idle":
            self._close_idle(order, deployment)
            return
        tasks = deployment.take_out(set(order.tasks))
        self._drains.append(_Drain(order, tasks, clock.monotonic() + order.timeout))
        self._finish_drains(0.0)
        self._gateway.hold.settle(deployment)

    def known(self) -> dict[str, int | None]:
        """Since when each deployment that was ever active here is quiet; None while active."""
        return {
            deployment.id: None if deployment.active else deployment.last_active
            for deployment in self._gateway.table.deployments.values()
            if deployment.active or deployment.last_active
        }

    def _close_idle(self, order: Close, deployment: Deployment) -> None:
        if deployment.active or (order.since is not None and deployment.last_active > order.since):
            self._gateway.serve.send(Busy(order.deployment, order.tasks))
            return
        deployment.take_out(set(order.tasks))
        self._closed(order)

    def _finish_drains(self, now: float) -> None:
        waiting = []
        for drain in self._drains:
            if drain.over() or now >= drain.deadline:
                self._closed(drain.order)
            else:
                waiting.append(drain)
        self._drains = waiting

    def _closed(self, order: Close) -> None:
        self._gateway.serve.send(Closed(order.deployment, order.tasks, order.mode))

    def _report_quiet(self) -> None:
        before = clock.boot_ns() - QUIET_AFTER_NS
        for deployment in [*self._ending]:
            if deployment.active:
                del self._ending[deployment]
            elif deployment.last_active <= before:
                del self._ending[deployment]
                self._gateway.serve.send(Quiet(deployment.id, deployment.last_active))
