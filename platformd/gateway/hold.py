"""Holds requests nobody can take yet, and releases them in order.

`server` adds and removes clients, `control` says what changed, the gateway's ticker enforces the time limits.
A deployment's queue is an OrderedDict of clients: first in, first out, and a client that leaves is out at once.
Gateway loop thread only.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from platformd import clock
from platformd.gateway import protocol
from platformd.gateway.answers import Problem, Waking
from platformd.gateway.reading import READ
from platformd.gateway.routes import Deployment, Task
from platformd.gateway.waits import Waits

if TYPE_CHECKING:
    from platformd.gateway.core import Gateway
    from platformd.gateway.server import Client

MOST_HELD = 10_000
MOST_BYTES = 64 << 20
# One held request keeps this much of its body; when half the total is used up, much less.
BODY_BYTES = 64 << 10
THRIFTY_BYTES = 3 << 10
ROUTES_TIMEOUT = 20.0
REFUSED_TIMEOUT = 5.0
REFUSED_PAUSE = 0.1
# A browser's navigation is held no longer than this for a wake: then it gets a page that waits in its stead.
SLOW_WAKE = 3.0


class Hold:
    """Every queue of held requests."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.total = 0
        self.bytes = 0
        self.queues: set[Deployment] = set()
        self.wake_took = 0.5
        self.waits = Waits()
        # Requests for hosts nobody has told us about, before the first full table.
        self.unknown = Deployment("", protocol.Config(queue_limit=MOST_HELD, wake_timeout=ROUTES_TIMEOUT))
        self._blocked: dict[Task, float] = {}
        self._visitors: dict[Client, None] = {}

    def allowance(self) -> int:
        """How many bytes one held request may keep in memory now."""
        return BODY_BYTES if self.bytes < MOST_BYTES // 2 else THRIFTY_BYTES

    def add(self, client: Client, deployment: Deployment) -> None:
        """Queue a request, or refuse it when there is no room; wakes the deployment if it sleeps."""
        held = deployment.held
        if (
            (held is not None and len(held) >= deployment.config.queue_limit)
            or self.total >= MOST_HELD
            or self.bytes + client.size() > MOST_BYTES
        ):
            client.reply(self._full(deployment))
            return
        client.cold = not deployment.tasks
        client.held_at = clock.monotonic()
        self._insert(client, deployment)
        self._wake(deployment)

    def remove(self, client: Client, deployment: Deployment) -> None:
        """Take a client that left out of the queue."""
        assert deployment.held is not None
        del deployment.held[client]
        self._removed(client)
        if not deployment.held:
            self._emptied(deployment)

    def put_back(self, client: Client, deployment: Deployment) -> None:
        """First in the queue, again or after all: its task could not be reached and nothing was sent."""
        client.held_at = client.held_at or clock.monotonic()
        self._insert(client, deployment)
        assert deployment.held is not None
        deployment.held.move_to_end(client, last=False)

    def grew(self, size: int) -> None:
        """Held requests keep `size` more bytes."""
        self.bytes += size
        self._gateway.read_view = READ if self.bytes < MOST_BYTES // 2 else READ[:THRIFTY_BYTES]

    def pump(self, deployment: Deployment) -> None:
        """Release as many as the open tasks may take now, first come first."""
        held = deployment.held
        if not held:
            return
        while held:
            task = deployment.pick()
            if task is None:
                return
            client, _ = held.popitem(last=False)
            self._removed(client)
            waited = clock.monotonic() - client.held_at
            self.waits.add(waited)
            if client.cold:
                client.wake_took = waited
            if not client.send_to(task):
                self.put_back(client, deployment)
        self._emptied(deployment)

    def settle(self, deployment: Deployment) -> None:
        """Bring the queue in line with what serve just said about the deployment."""
        self._follow_addresses(deployment)
        if deployment.tasks:
            self._woken(deployment)
            self.pump(deployment)
        elif deployment.held:
            if deployment.config.wakeable:
                self._wake(deployment)
            else:
                self.fail(deployment, Problem.refusal(deployment.config.refusal))

    def _follow_addresses(self, deployment: Deployment) -> None:
        """Held requests whose address leads elsewhere by now go there."""
        hosts = self._gateway.table.hosts
        elsewhere = (None, deployment)
        for client in [c for c in deployment.held or () if hosts.get(c.block.host) not in elsewhere]:
            self.remove(client, deployment)
            client.dispatch()

    def fail(self, deployment: Deployment, problem: Problem) -> None:
        """Answer all that are held now; the next request starts anew."""
        deployment.wake_sent = 0.0
        deployment.phase = ""
        deployment.failure = problem
        for client in self._take_all(deployment):
            client.reply(problem)

    def routes_known(self) -> None:
        """The first full table is there: route what waited for it."""
        for client in self._take_all(self.unknown):
            client.dispatch()

    def expire(self, now: float) -> None:
        """Each tick: answer those who waited too long and try blocked tasks again."""
        for task in [task for task, until in self._blocked.items() if until <= now]:
            del self._blocked[task]
            self.unblock(task)
        for deployment in [*self.queues]:
            self._expire(deployment, now)
        for client in [*self._visitors]:
            self._show_waking(client, now)

    def block(self, task: Task, *, seconds: float | None = None) -> None:
        """No new connection to the task until `unblock`, which comes by itself after `seconds`."""
        task.blocked = True
        if seconds is not None:
            self._blocked[task] = clock.monotonic() + seconds

    def unblock(self, task: Task) -> None:
        """Connections to the task may be opened again."""
        task.blocked = False
        if task.open:
            self.pump(task.deployment)

    def refused(self, task: Task) -> None:
        """The task's address refuses connections: leave it alone for a moment."""
        deployment = task.deployment
        deployment.refused_since = deployment.refused_since or clock.monotonic()
        self.block(task, seconds=REFUSED_PAUSE)

    def _insert(self, client: Client, deployment: Deployment) -> None:
        if deployment.held is None:
            deployment.held = OrderedDict()
        deployment.held[client] = None
        self.queues.add(deployment)
        self.total += 1
        self.grew(client.size())
        if client.block.navigate and client.method == b"GET":
            self._visitors[client] = None
        if deployment.counts is None and deployment is not self.unknown:
            self._gateway.starts_counting(deployment)
        client.hold(deployment)

    def _removed(self, client: Client) -> None:
        self.total -= 1
        self.grew(-client.size())
        self._visitors.pop(client, None)

    def _take_all(self, deployment: Deployment) -> list[Client]:
        clients = [*deployment.held] if deployment.held else []
        for client in clients:
            self._removed(client)
        deployment.held = None
        self._emptied(deployment)
        return clients

    def _emptied(self, deployment: Deployment) -> None:
        deployment.held = None
        self.queues.discard(deployment)
        if deployment.inflight == deployment.passive and deployment is not self.unknown:
            self._gateway.activity.ended(deployment)

    def _wake(self, deployment: Deployment) -> None:
        if deployment.tasks or deployment.wake_sent or deployment is self.unknown:
            return
        if self._gateway.serve.ready:
            deployment.wake_sent = clock.monotonic()
            self._gateway.arms.wake(deployment)
            deployment.failure = None
            deployment.phase = ""  # what was told before belongs to falling asleep

    def _woken(self, deployment: Deployment) -> None:
        if deployment.wake_sent:
            deployment.wake_took = clock.monotonic() - deployment.wake_sent
            self.wake_took += (deployment.wake_took - self.wake_took) / 8
        deployment.wake_sent = 0.0
        deployment.failure = None
        deployment.phase = ""

    def _show_waking(self, client: Client, now: float) -> None:
        deployment = client.deployment
        assert deployment is not None
        began = min(client.held_at, deployment.wake_sent or client.held_at)
        if now - began < SLOW_WAKE or deployment.tasks or deployment is self.unknown:
            return
        self.remove(client, deployment)
        client.reply(Waking.at(client.block.host.decode(), deployment.state, self._wake_takes(deployment)))

    def _full(self, deployment: Deployment) -> Problem:
        awaited = "have room" if deployment.tasks else "wake"
        return Problem(
            503,
            "WAKE_QUEUE_FULL",
            f"Too many requests already wait for this deployment to {awaited}.",
            retry_after=self._wake_takes(deployment),
        )

    def _wake_takes(self, deployment: Deployment) -> int:
        """Whole seconds, at least one, that the wake is going to take from now on."""
        took = deployment.wake_took or self.wake_took
        elapsed = clock.monotonic() - deployment.wake_sent if deployment.wake_sent else 0.0
        return max(1, math.ceil(took - elapsed))

    def _expire(self, deployment: Deployment, now: float) -> None:
        if self._given_up(deployment, now):
            self.fail(deployment, Problem(502, "UPSTREAM_CLOSED", "The app refuses connections."))
            return
        limit = self._gateway.settings.answer_timeout if deployment.tasks else deployment.config.wake_timeout
        while deployment.held:
            client = next(iter(deployment.held))
            if now - client.held_at < limit:
                return
            problem = self._timed_out(deployment, limit)
            self.remove(client, deployment)
            deployment.wake_sent = 0.0
            client.reply(problem)

    def _given_up(self, deployment: Deployment, now: float) -> bool:
        """All tasks have refused for so long that nobody will say that they are gone."""
        since = deployment.refused_since
        blocked = deployment.tasks and all(task.blocked for task in deployment.tasks)
        return bool(blocked and since and now - since > REFUSED_TIMEOUT)

    def _timed_out(self, deployment: Deployment, limit: float) -> Problem:
        if deployment is self.unknown:
            return Problem(503, "RECOVERING", "The platform is starting; try again.", retry_after=1)
        if deployment.tasks:
            return Problem(504, "UPSTREAM_TIMEOUT", f"No task had room for this request within {limit:g} s.")
        phase = deployment.phase or "waking"
        return Problem(
            504,
            "WAKE_TIMEOUT",
            f"The deployment did not become ready within {limit:g} s; its phase is {phase}.",
            extra={"phase": phase},
        )
