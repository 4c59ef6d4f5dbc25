"""Fires armed wakes at the keeper, and releases what is held as soon as the task so started listens.

Serve says beforehand which task the wake of a deployment will start, and on which port (`protocol.Armed`). On traffic
the keeper is told to start it, and serve only when it listens, or takes long to: its work would be in the way of the
app's, and it has nothing to do. Its own launch of that task finds it started. A fired task takes requests before serve
has told of it, once it has a listener of its own on its port; that is provisional until serve's list of targets comes,
or says that the wake failed. Of a storm so many start at once and the others wait in a line. Whatever goes wrong here,
the wake takes the ordinary way: serve is asked for it. Gateway loop thread only.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platformd import clock
from platformd.gateway import protocol
from platformd.gateway.keeper import Keeper, Message
from platformd.gateway.routes import Deployment
from platformd.ownership import HOST, holds, open_listeners
from platformd.timerfd import Timer

if TYPE_CHECKING:
    from platformd.gateway.core import Gateway

# At once, and for so long at most: what takes long to listen is serve's to look at.
PLACES_PER_CORE = 2  # serve starts others beside these
PATIENCE = 1.0
SHORTEST_GAP, GAP_OF_ELAPSED = 0.000_15, 0.05
# Serve is told of a wake before its first answer is out, or after so long.
TOLD_AT_LAST = 0.01
# A line that does not move is left to serve.
LINE_STANDS = 0.02


@dataclass(slots=True, eq=False)
class _Fired:
    """One on its way; `pid` is 0 until the keeper has said so."""

    deployment: Deployment
    ticket: protocol.Armed
    since: float
    pid: int = 0
    look_at: float = 0.0
    told: bool = False


class Arms:
    """Tickets that may be fired, the line before the places, what was fired and is not listening yet, and which of
    that serve has not been told of."""

    def __init__(self, gateway: Gateway, run_dir: Path) -> None:
        self._gateway = gateway
        self._keeper = Keeper(gateway.loop, run_dir, self._heard)
        self._places = PLACES_PER_CORE * len(os.sched_getaffinity(0))
        self._listeners = open_listeners()
        self._timer = Timer(gateway.loop, self._look)
        self._tickets: dict[str, protocol.Armed] = {}
        self._line: deque[Deployment] = deque()
        self._moved = 0.0
        self._starting: dict[str, _Fired] = {}
        self._untold: deque[_Fired] = deque()
        self._provisional: dict[Deployment, str] = {}

    # ---- from serve and hold -------------------------------------------------------------------------------

    def told(self, order: protocol.Armed) -> None:
        """Serve has armed it, or disarmed it."""
        if order.port is None:
            self._tickets.pop(order.deployment, None)
        else:
            self._tickets[order.deployment] = order

    def wake(self, deployment: Deployment) -> None:
        """Have its task started and serve told, now or when its turn comes."""
        if deployment.id not in self._tickets or not self._keeper.connected:
            self._gateway.serve.wake(deployment)
        elif len(self._starting) < self._places:
            self._fire(deployment)
        else:
            if not self._line:
                self._moved = clock.monotonic()
                self._gateway.loop.call_later(LINE_STANDS, self._mind_line)
            self._line.append(deployment)

    def settled(self, deployment: Deployment) -> None:
        """Serve has told of its targets: from here on only that counts."""
        self._provisional.pop(deployment, None)
        self._done([task for task, fired in self._starting.items() if fired.deployment is deployment])

    def over(self, deployment: Deployment) -> None:
        """Its wake came to nothing: no further request for the task that was to be, those it has go on."""
        task = self._provisional.get(deployment)
        self.settled(deployment)
        if task is not None:
            deployment.take_out({task})

    def forget(self) -> None:
        """Serve is gone, and with it what it had armed; what was fired goes on, and the next serve finds it."""
        self._tickets.clear()
        self._line.clear()
        self._untold.clear()

    def tick(self) -> None:
        """Now and then: be connected, give up what takes long."""
        self._keeper.stay_connected()
        before = clock.monotonic() - PATIENCE
        self._done([task for task, fired in self._starting.items() if fired.since < before])

    def close(self) -> None:
        self._keeper.close()
        self._timer.close()
        self._listeners.close()

    # ---- starting ------------------------------------------------------------------------------------------

    def _fire(self, deployment: Deployment) -> None:
        ticket = self._tickets.pop(deployment.id, None)
        if ticket is None or not self._keeper.send({"op": "fire", "task": ticket.task}):
            self._gateway.serve.wake(deployment)
            return
        fired = _Fired(deployment, ticket, clock.monotonic())
        self._starting[ticket.task] = fired
        self._untold.append(fired)
        if len(self._untold) == 1:
            self._gateway.loop.call_later(TOLD_AT_LAST, self._tell_late)

    def _done(self, tasks: list[str]) -> None:
        """They start no more, or not here: their places are free."""
        for task in tasks:
            self._starting.pop(task, None)
        if tasks:
            self._moved = clock.monotonic()
        while self._line and len(self._starting) < self._places:
            deployment = self._line.popleft()
            if deployment.wake_sent and not deployment.tasks:
                self._fire(deployment)

    def _mind_line(self) -> None:
        if self._line and clock.monotonic() - self._moved >= LINE_STANDS:
            line, self._line = self._line, deque()
            for deployment in line:
                if deployment.wake_sent:
                    self._gateway.serve.wake(deployment)
        elif self._line:
            self._gateway.loop.call_later(LINE_STANDS, self._mind_line)

    def _heard(self, message: Message) -> None:
        fired = self._starting.get(message.get("task", ""))
        if fired is None:
            return
        if message["op"] == "launched" and fired.ticket.plain:
            fired.pid = message["pid"]
            self._look()
        elif message["op"] != "launched":
            self._done([fired.ticket.task])
            self._tell(fired)

    def _look(self) -> None:
        """At all that are due."""
        now = clock.monotonic()
        for fired in [each for each in self._starting.values() if each.pid and each.look_at <= now]:
            if self._listens(fired):
                self._release(fired)
            else:
                fired.look_at = now + max(SHORTEST_GAP, (now - fired.since) * GAP_OF_ELAPSED)
        due = min((each.look_at for each in self._starting.values() if each.pid), default=None)
        if due is not None:
            self._timer.set(due - clock.monotonic())

    def _listens(self, fired: _Fired) -> bool:
        """A listener of the process itself; serve looks closer at its relatives."""
        assert fired.ticket.port is not None
        listener = self._listeners.at(fired.ticket.port)
        return listener is not None and bool(holds(fired.pid, listener.inode))

    def _release(self, fired: _Fired) -> None:
        deployment, ticket = fired.deployment, fired.ticket
        assert ticket.port is not None
        spec = protocol.TargetSpec(ticket.task, (HOST, ticket.port), slow_start=True)
        if self._gateway.table.foresee(deployment, spec):
            self._provisional[deployment] = ticket.task
            self._gateway.hold.settle(deployment)
            self._tell(fired)
        self._done([ticket.task])

    # ---- telling serve -------------------------------------------------------------------------------------

    def _tell_late(self) -> None:
        """Of those that take long to listen."""
        now = clock.monotonic()
        while self._untold and (self._untold[0].told or now - self._untold[0].since >= TOLD_AT_LAST):
            self._tell(self._untold.popleft())
        if self._untold:
            self._gateway.loop.call_later(self._untold[0].since + TOLD_AT_LAST - now, self._tell_late)

    def _tell(self, fired: _Fired) -> None:
        if not fired.told:
            fired.told = True
            self._gateway.serve.wake(fired.deployment, clock.monotonic() - fired.since)
