"""Wakes made ready ahead: launch orders of sleeping deployments that the keeper holds and the gateway may fire.

Firing is nothing but an early launch of the task that the deployment's actor is about to start anyway: its id and port
are settled while it sleeps, the actor uses them, and the keeper starts no task twice. So whether a wake was armed,
fired, refused or lost changes when the process starts, and nothing else.

Owned by the native driver; actors call `arm`, `of` and `disarm` on any thread, the driver the rest on the loop's. Only
plain starts are armed, and only those of the deployments that fell asleep last: each holds a port.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping

import structlog

from platformd.domain.spec import DeploymentSpec, Protocol
from platformd.drivers import launch_order
from platformd.drivers.base import LaunchOrder, Send
from platformd.drivers.book import Book
from platformd.drivers.launch_order import NativeSettings, Refused
from platformd.drivers.ports import Ports
from platformd.drivers.run import Run, seed
from platformd.errors import PlatformError

MOST_ARMED = 256
PORTS_FOR_EACH = 8  # so many in the range: what sleeps must not keep ports from what runs

Announce = Callable[[LaunchOrder, int | None], None]
"""Takes an armed order and its port; None: it is armed no more."""

log = structlog.get_logger(__name__)


def _to_nobody(_order: LaunchOrder, _port: int | None = None) -> None:
    return


class Arms:
    """`announce` is told of each order that is armed or disarmed, `on_fired`, on the loop's thread, of one that was
    fired before its actor launched it."""

    announce: Announce = staticmethod(_to_nobody)
    on_fired: Callable[[LaunchOrder], None] = staticmethod(_to_nobody)

    def __init__(
        self, *, book: Book, ports: Ports, send: Send, settings: NativeSettings, boot_id: str
    ) -> None:
        self._book, self._ports, self._send = book, ports, send
        self._settings, self._boot_id = settings, boot_id
        self._most = min(MOST_ARMED, len(settings.task_ports) // PORTS_FOR_EACH)
        self._lock = threading.Lock()
        self._armed: OrderedDict[str, Run] = OrderedDict()

    def suits(self, spec: DeploymentSpec) -> bool:
        """Whether its start can be settled ahead: no port that others may hold, nothing to look at each time."""
        net = spec.networking
        return self._most > 0 and net.protocol is Protocol.HTTP and net.port is None and not spec.volumes

    def arm(self, order: LaunchOrder) -> None:
        """Have the keeper hold `order`, in place of what was armed for its deployment."""
        self.disarm(order.deployment_id)
        port = self._ports.take(order.task_id)
        if port is None:
            return
        run, _ = self._book.open(order)
        run.port, run.armed = port, True
        try:
            message = launch_order.message(order, port, seed(self._boot_id, port), self._settings)
            self._send({**message, "op": "arm"})
        except (Refused, OSError, PlatformError) as error:
            log.debug("a wake is not armed", deployment_id=order.deployment_id, reason=str(error))
            self._drop(run)
            return
        with self._lock:
            self._armed[order.deployment_id] = run
            surplus = [*self._armed][: len(self._armed) - self._most]
        self.announce(order, port)
        for deployment_id in surplus:
            self.disarm(deployment_id)

    def of(self, deployment_id: str) -> LaunchOrder | None:
        """What is armed for this deployment."""
        run = self._armed.get(deployment_id)
        return None if run is None else run.order

    def disarm(self, deployment_id: str) -> None:
        """Take back what is armed for it, if anything; it may have been fired already, which is told as such."""
        with self._lock:
            run = self._armed.pop(deployment_id, None)
        if run is None:
            return
        self.announce(run.order, None)
        try:
            self._send({"op": "disarm", "task": run.task_id})
        except (OSError, PlatformError):
            log.debug("the keeper is away: its next list says whether it was fired", task_id=run.task_id)

    def disarm_all(self) -> None:
        """Their ports are needed."""
        for deployment_id in [*self._armed]:
            self.disarm(deployment_id)

    def announce_all(self) -> None:
        """To one who has heard of none."""
        for run in [*self._armed.values()]:
            self.announce(run.order, run.port)

    # ---- for the driver ------------------------------------------------------------------------------------

    def take(self, run: Run, order: LaunchOrder) -> bool:
        """Its actor launches it now: True when it was armed until then, and perhaps fired."""
        if not run.armed:
            return False
        run.order = order
        with self._lock:
            if self._armed.get(order.deployment_id) is run:
                del self._armed[order.deployment_id]
        return True

    def disarmed(self, task_id: str) -> None:
        """The keeper has given it up."""
        run = self._book.run(task_id)
        if run is not None and run.armed and not run.launched:
            self._drop(run)

    def resynced(self, records: Mapping[str, object]) -> None:
        """What an earlier connection to the keeper had armed is forgotten there, unless it was fired."""
        with self._lock:
            armed, self._armed = self._armed, OrderedDict()
        for run in armed.values():
            self.announce(run.order, None)
        for run in self._book.runs():
            if run.armed and not run.launched and run.task_id not in records:
                self._drop(run)

    def _drop(self, run: Run) -> None:
        self._book.drop(run)
        self._ports.give_back(run.task_id)
