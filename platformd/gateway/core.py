"""The gateway as a whole: what all connections share, the ticker, and the orderly end.

Made by `__main__`; every other part holds a reference to it. One coarse ticker serves all time limits, so that a
request costs no timer. Gateway loop thread only.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from platformd import clock
from platformd.gateway import protocol, reading
from platformd.gateway.answers import Problem
from platformd.gateway.arms import Arms
from platformd.gateway.control import Serve
from platformd.gateway.demand import Demand
from platformd.gateway.follow import Followers
from platformd.gateway.hold import Hold
from platformd.gateway.idle import Activity
from platformd.gateway.reading import Reader
from platformd.gateway.routes import KINDS, Deployment, Table
from platformd.gateway.server import Client
from platformd.gateway.sockets import has_left, reset
from platformd.gateway.upstream import Upstream
from platformd.observability import get_logger

TICK = 0.1
TICKS_PER_SWEEP = 10
BACKLOG = 4096
HEAD_TIMEOUT = 10.0
IDLE_TIMEOUT = 75.0
BODY_TIMEOUT = 75.0
SEND_TIMEOUT = 75.0
POOL_TIMEOUT = 15.0
LINGER_TIMEOUT = 2.0
STOP_TIMEOUT = 10.0
FLUSH_TIMEOUT = 1.0
# A connection accepted just before the stop may have its first request on the way.
FRESH_TIMEOUT = 0.3


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says. `answer_timeout`: seconds until the first byte of an app's answer."""

    serve_socket: Path
    trusted: tuple[IPv4Network | IPv6Network, ...] = ()
    full_errors: bool = False
    answer_timeout: float = 300.0
    most_clients: int = 10_000


class Gateway:
    """State shared by all connections. `now` is the monotonic time of the last tick."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
        self.log = get_logger("gateway")
        self.now = clock.monotonic()
        self.full_errors = settings.full_errors
        self.read_view = reading.READ
        self.table = Table()
        self.hold = Hold(self)
        self.arms = Arms(self, settings.serve_socket.parent)
        self.activity = Activity(self)
        self.demand = Demand()
        self.followers = Followers(self)
        self.serve = Serve(self, settings.serve_socket)
        self.clients: set[Reader] = set()
        self.upstreams: set[Upstream] = set()
        self.heads: dict[Reader, float] = {}
        self.paused: set[Reader] = set()
        self.stopping = False
        self.stopped = asyncio.Event()
        self._empty = asyncio.Event()
        self._stop_at = self._fresh_until = 0.0
        self._changed: list[Deployment] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ids = itertools.count(1)
        self._id_prefix = os.urandom(6).hex().encode()
        self._ticks = 0
        self._server: asyncio.Server | None = None

    async def run(self, listener: socket.socket) -> None:
        """Serve `listener` until told to stop; returns when the last request is done."""
        self._server = await self.loop.create_server(lambda: Client(self), sock=listener, backlog=BACKLOG)
        connecting = self.loop.create_task(self.serve.stay_connected())
        self._tick()
        await self.stopped.wait()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), FLUSH_TIMEOUT)
        connecting.cancel()
        self._timer.cancel()
        self.arms.close()

    def stop(self) -> None:
        """Accept no more, let what is under way end within ten seconds, then leave."""
        if self.stopping or self._server is None:
            return
        self.log.info("stopping", clients=len(self.clients), held=self.hold.total)
        self.stopping = True
        self._stop_at = clock.monotonic() + STOP_TIMEOUT
        self._fresh_until = clock.monotonic() + FRESH_TIMEOUT
        self._server.close()
        for client in [*self.clients]:
            client.plain = False
            if client.state == reading.IDLE and not client.inbox and client.method:
                client.transport.close()
        self._leave_if_done()

    # What connections use

    def new_id(self) -> bytes:
        """A request id nobody else has."""
        return b"%b-%x" % (self._id_prefix, next(self._ids))

    def trusts(self, host: str) -> bool:
        """True when `host` is a proxy whose X-Forwarded-* headers are believed."""
        if not self.settings.trusted:
            return False
        address = ip_address(host.partition("%")[0])
        return any(address in network for network in self.settings.trusted)

    def joined(self, client: Reader) -> None:
        """A connection came in."""
        if len(self.clients) >= self.settings.most_clients:
            client.transport.abort()
        self.clients.add(client)

    def gone(self, client: Reader) -> None:
        """A connection is closed."""
        self.clients.discard(client)
        if not self.clients and self.stopped.is_set():
            self._empty.set()
        elif self.stopping:
            self._leave_if_done()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` beside everything else."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def starts_counting(self, deployment: Deployment) -> list[int]:
        """The deployment has news for the next report."""
        deployment.counts = [0] * len(KINDS)
        self._changed.append(deployment)
        if deployment.config.autoscaled:
            self.demand.watch(deployment)
        return deployment.counts

    def count(self, deployment: Deployment, kind: int) -> None:
        """One request ended as KINDS[kind]."""
        if deployment is self.hold.unknown:
            return
        (deployment.counts or self.starts_counting(deployment))[kind] += 1

    # Time

    def _tick(self) -> None:
        self.now = clock.monotonic()
        self._timer = self.loop.call_later(TICK, self._tick)
        self.hold.expire(self.now)
        self.activity.tick(self.now)
        self.demand.look()
        self.followers.tick(self.now)
        for client in [client for client, since in self.heads.items() if self.now - since > HEAD_TIMEOUT]:
            client.expired_head()
        self._ticks += 1
        if self._ticks % TICKS_PER_SWEEP == 0:
            self._sweep()
            self.arms.tick()
            self._report()
        if self.stopping:
            self._leave_if_done()

    def _sweep(self) -> None:
        """Once a second: limits that are long, and clients that left while nothing was read from them."""
        for client in [*self.paused]:
            # What a tunnel has still to deliver is delivered first; its end comes with the bytes.
            if client.state != reading.TUNNEL and has_left(client.transport):
                client.transport.abort()
                client.left()
        for client in [*self.clients]:
            self._check(client, self.now - client.since)
        for upstream in [*self.upstreams]:
            upstream.expire(self.now - POOL_TIMEOUT)

    def _check(self, client: Reader, age: float) -> None:
        state = client.state
        if client.choked and client.stuck_for(self.now) > SEND_TIMEOUT:
            reset(client.transport)
            client.left()
        elif state == reading.SENT:
            if client.unread:
                if age > BODY_TIMEOUT and not client.paused:
                    client.spoiled(Problem(408, "REQUEST_TIMEOUT", "The request body stopped arriving."))
            elif not client.answered and age > self.settings.answer_timeout:
                limit = self.settings.answer_timeout
                client.spoiled(
                    Problem(504, "UPSTREAM_TIMEOUT", f"The app did not begin to answer within {limit:g} s.")
                )
        elif state == reading.IDLE:
            if age > IDLE_TIMEOUT and client not in self.heads:
                client.transport.close()
        elif state == reading.LINGER and age > LINGER_TIMEOUT:
            client.transport.abort()

    def _report(self) -> None:
        changed, self._changed = self._changed, []
        loads: dict[str, protocol.DeploymentLoad] = {}
        for deployment in changed:
            counts, deployment.counts = deployment.counts or [], None
            requests = {kind: count for kind, count in zip(KINDS, counts, strict=False) if count}
            loads[deployment.id] = _load(deployment, requests)
        for deployment, demand in self.demand.take().items():
            load = loads.setdefault(deployment.id, _load(deployment, {}))
            load.demand = demand
        if loads:
            under_way = (reading.DIALING, reading.SENT, reading.TUNNEL)
            inflight = sum(client.state in under_way for client in self.clients)
            self.serve.send(protocol.Load(loads, inflight, self.hold.total, *self.hold.waits.take()))

    # The end

    def _leave_if_done(self) -> None:
        if self.stopped.is_set():
            return
        now = clock.monotonic()
        late = now >= self._stop_at
        if late:
            goodbye = Problem(503, "STOPPING", "The platform is restarting; try again.", retry_after=1)
            for deployment in [*self.hold.queues]:
                self.hold.fail(deployment, goodbye)
        fresh = now < self._fresh_until
        ordinary = any(
            (client.state in (reading.HELD, reading.DIALING, reading.SENT) and not client.stream)
            or (client.state == reading.LINGER or (fresh and not client.method))
            for client in self.clients
        )
        if ordinary and not late:
            return
        self.stopped.set()
        for client in [*self.clients]:
            client.transport.close()
        if not self.clients:
            self._empty.set()


def _load(deployment: Deployment, requests: dict[str, int]) -> protocol.DeploymentLoad:
    return protocol.DeploymentLoad(deployment.inflight, len(deployment.held or ()), requests)
