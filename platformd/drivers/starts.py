"""From a launch order to the keeper's `launch`, or to the reason why not.

Used by the native driver, on the caller's thread: this is the way of a wake, nothing in it waits or writes a file.
"""

from __future__ import annotations

from platformd.domain.events import LaunchFailed, LaunchWaits
from platformd.domain.snapshot import Reason
from platformd.domain.spec import Protocol
from platformd.drivers import launch_order, reasons
from platformd.drivers.arms import Arms
from platformd.drivers.base import Send, Sink
from platformd.drivers.book import Book
from platformd.drivers.gate import Gate
from platformd.drivers.launch_order import NativeSettings, Refused
from platformd.drivers.ports import Held, Ports
from platformd.drivers.run import Run, seed
from platformd.drivers.workers import Workers
from platformd.errors import PlatformError
from platformd.ownership import Listeners


class Starts:
    """What cannot be started is dropped from the book, its port given back, and its actor told why."""

    def __init__(
        self,
        *,
        arms: Arms,
        book: Book,
        ports: Ports,
        listeners: Listeners,
        workers: Workers,
        send: Send,
        sink: Sink,
        settings: NativeSettings,
        boot_id: str,
    ) -> None:
        self._arms, self._book, self._ports = arms, book, ports
        self._listeners, self._workers = listeners, workers
        self._send, self._sink, self._settings, self._boot_id = send, sink, settings, boot_id
        self.gate = Gate(self.order, workers.later)

    def start(self, run: Run) -> None:
        match self._take_port(run):
            case Held() as held:
                self._drop(run)
                self._workers.submit(lambda: self._tell_who_holds(run, held))
            case Reason() as reason:
                self._waits(run, reason)
            case None:
                self.gate.enter(run)

    def order(self, run: Run) -> None:
        """Tell the keeper; also once more when it has lost the first order."""
        try:
            handle = seed(self._boot_id, run.port)
            message = launch_order.message(run.order, run.port, handle, self._settings)
            run.ordered = True
            self._send(message)
        except Refused as refusal:
            self._drop(run)
            self._sink(run.task_id, LaunchFailed(refusal.reason))
        except (OSError, PlatformError) as error:
            self._waits(run, reasons.keeper_unavailable(error))

    def failed(self, run: Run, reason: Reason) -> None:
        """The keeper could not. A port somebody took in the meantime may be free later, all else is final."""
        if reason.code == "PORT_IN_USE":
            self._waits(run, reason)
        else:
            self._drop(run)
            self._sink(run.task_id, LaunchFailed(reason))

    def _waits(self, run: Run, reason: Reason) -> None:
        self._drop(run)
        self._sink(run.task_id, LaunchWaits(reason))

    def _drop(self, run: Run) -> None:
        self._book.drop(run)
        self._ports.give_back(run.task_id)
        self.gate.leave(run.task_id)

    def _take_port(self, run: Run) -> Held | Reason | None:
        """Give the run its port if it needs one; what is in the way otherwise."""
        networking = run.order.spec.networking
        if networking.protocol is Protocol.NONE:
            return None
        if networking.port is None:
            run.port = self._ports.take(run.task_id)
            if run.port is None:
                self._arms.disarm_all()
            return reasons.ports_exhausted(self._ports.range) if run.port is None else None
        run.port = networking.port
        return self._ports.take_fixed(run.task_id, networking.port)

    def _tell_who_holds(self, run: Run, held: Held) -> None:
        """In a worker: finding the process behind a listener takes a look at all of them."""
        if held.task_id is None:
            who = reasons.who_listens(self._listeners, held.port)
        else:
            other = self._book.run(held.task_id)
            of = f" of deployment {other.order.deployment_id}" if other is not None else ""
            who = f"task {held.task_id}{of}"
        self._sink(run.task_id, LaunchWaits(reasons.port_held(held.port, who)))
