"""The gateway's connection to serve: takes its orders, sends our reports, and comes back for ever.

While serve is away everything known goes on working; what must not be lost is said again in Hello and Wake once it
is back. Gateway loop thread only.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from platformd import heap
from platformd.gateway import protocol
from platformd.gateway.answers import Problem
from platformd.gateway.routes import Deployment
from platformd.gateway.sockets import short_path

if TYPE_CHECKING:
    from platformd.gateway.core import Gateway

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.2
TRIM_AFTER_SECS = 1.0


class Serve:
    """Serve as seen from the gateway. `ready` once it has sent its full table on the present connection."""

    def __init__(self, gateway: Gateway, path: Path) -> None:
        self._gateway = gateway
        self._path = path
        self._transport: asyncio.Transport | None = None
        self.ready = False

    async def stay_connected(self) -> None:
        """Connect, and again whenever the connection is lost, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                with short_path(self._path) as name:
                    _, wire = await self._gateway.loop.create_unix_connection(lambda: _Wire(self), name)
            except OSError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            await wire.lost.wait()
            pause = FIRST_PAUSE

    def send(self, message: protocol.Message) -> None:
        """Tell serve; while it is away, nobody hears."""
        if self._transport is not None:
            self._transport.write(protocol.encode(message))

    def wake(self, deployment: Deployment, waited: float = 0.0) -> None:
        """Ask for tasks. Serve that is not `ready` cannot hear it and must be asked after its return."""
        self.send(protocol.Wake(deployment.id, len(deployment.held or ()), waited))

    def connected(self, transport: asyncio.Transport) -> None:
        """Serve is there: say who we are and what we know."""
        gateway = self._gateway
        self._transport = transport
        deployments = gateway.table.deployments.values()
        self.send(
            protocol.Hello(
                pid=os.getpid(),
                epoch=gateway.table.epoch,
                activity=gateway.activity.known(),
                targets={d.id: [task.id for task in d.tasks] for d in deployments if d.tasks},
                held={d.id: len(d.held) for d in deployments if d.held},
            )
        )

    def lost(self) -> None:
        """Serve is gone; a table it had half sent counts for nothing."""
        self._transport = None
        self.ready = False
        self._gateway.table.abandon()
        self._gateway.arms.forget()
        self._gateway.log.warning("connection to serve lost")

    def receive(self, line: bytes) -> None:
        """One order. One that cannot be read or carried out is reported and skipped."""
        try:
            self._obey(protocol.decode_order(line))
        except msgspec.DecodeError as error:
            self._gateway.log.error("order from serve cannot be read", error=str(error), line=line[:200])
        except Exception:
            self._gateway.log.exception("order from serve failed", line=line[:200])

    def _obey(self, order: protocol.FromServe) -> None:
        gateway = self._gateway
        match order:
            case protocol.Targets():
                self._retarget(order)
            case protocol.Routes():
                for deployment in gateway.table.apply(order):
                    gateway.hold.settle(deployment)
            case protocol.Close():
                gateway.activity.close(order)
            case protocol.WakeFailed():
                self._wake_failed(order)
            case protocol.WakePhase():
                self._phase(order)
            case protocol.Armed():
                gateway.arms.told(order)
            case protocol.Reset():
                gateway.table.reset(order.epoch)
            case protocol.Synced():
                self._synced()
            case protocol.Errors():
                gateway.full_errors = order.full
            case protocol.Bye():
                gateway.stop()

    def _phase(self, order: protocol.WakePhase) -> None:
        deployment = self._gateway.table.deployments.get(order.deployment)
        if deployment is not None:
            deployment.phase = order.phase
            self._gateway.arms.over(deployment)

    def _retarget(self, order: protocol.Targets) -> None:
        deployment = self._gateway.table.retarget(order)
        if deployment is not None:
            self._gateway.arms.settled(deployment)
            deployment.refused_since = 0.0
            if order.tasks and not deployment.tasks:  # what the wake came to is closed for good already
                deployment.wake_sent = 0.0
            self._gateway.hold.settle(deployment)

    def _wake_failed(self, order: protocol.WakeFailed) -> None:
        deployment = self._gateway.table.deployments.get(order.deployment)
        if deployment is not None:
            self._gateway.arms.over(deployment)
            self._gateway.hold.fail(deployment, Problem.wake_failed(order))

    def _synced(self) -> None:
        gateway = self._gateway
        self.ready = True
        for deployment in gateway.table.swap():
            # Whoever was asked before may have died with the request.
            deployment.wake_sent = 0.0
            gateway.hold.settle(deployment)
        gateway.hold.routes_known()
        gateway.loop.call_later(TRIM_AFTER_SECS, heap.trim)
        gateway.log.info("routes known", hosts=len(gateway.table.hosts), epoch=gateway.table.epoch)


class _Wire(asyncio.Protocol):
    """The socket itself."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._lines = protocol.Lines()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._serve.connected(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            self._serve.receive(line)

    def connection_lost(self, _: Exception | None) -> None:
        self._serve.lost()
        self.lost.set()
