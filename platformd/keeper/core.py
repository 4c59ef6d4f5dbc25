"""What the keeper holds: its parts put together, and what becomes of them when serve comes and goes.

Made and driven by `process`, asked by `commands` and `upgrade`. One thread.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque

from . import adopt, connection, folders, linux, spool, wire
from .connection import Door
from .exits import Exits
from .gateway import Gateway
from .journal import IDLE_SECONDS, Journals
from .launch import Spawner
from .output import Outputs
from .spool import Spool
from .starter import Starter
from .timers import Timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .starter import Plan
    from .tasks import Task

UNTOLD_SECONDS, CALM_SECONDS = 0.5, 0.005


class Keeper:
    """The parts, and what connects them."""

    def __init__(self, lock: int, grace: float, state: dict[str, Any] | None) -> None:
        self.lock, self.grace = lock, grace
        self.version = wire.source_version(os.path.dirname(os.path.abspath(__file__)))
        self.epoll = select.epoll()
        self.timers = Timers()
        self.behind: deque[Callable[[], None]] = deque()
        self.tasks: dict[str, Task] = {}
        self.armed: dict[str, Plan] = {}
        self.untold: dict[str, Task] = {}
        self.calm_at = 0.0
        self.leaving = self.done = False
        self._losses = 0
        self.outputs = Outputs(self.timers.after)
        folders.prepare()
        self.left_behind = spool.left_behind()
        self.journals = Journals(self._tell_lines, self.timers.after, Spool())
        self.exits = Exits(self.epoll, self.timers, self._ended)
        old = state or {}
        self.spawner = Spawner(old.get("oom"), old.get("nofile"), old.get("slots", ()))
        self.starter = Starter(self.spawner, self.journals, self.behind, self.know, self.knows)
        self.gateway = Gateway(self.timers, self.starter.gateway, self.tell)
        listener = connection.bind() if state is None else connection.reopen(state["listener"])
        self.door = Door(self.epoll, self.timers, listener, self.serve_lost)
        linux.become_subreaper()

    def begin(self) -> None:
        """Take up what a killed keeper left."""
        for task in adopt.adopt(self.journals, self.starter.boot_id, self.left_behind):
            self.know(task)
            if task.is_gateway and task.exit is None:
                self.gateway.adopt(task)
            elif task.is_gateway and task.task in self.tasks:
                self.forget(task)
        self.gateway.recover_sockets()

    def settle(self) -> None:
        """Last step of every start: wait for serve."""
        if self.door.serve is None:
            self.serve_lost()
        self._sweep()

    def know(self, task: Task) -> None:
        """Read its output and wait for its end."""
        self.tasks[task.task] = task
        for reader in task.readers:
            self.outputs.add(reader)
        if task.exit is None:
            self.exits.watch(task)
        elif not task.saved:
            self.exits.unsaved[task.task] = task
            self.exits.save_again()

    def knows(self, task: Task) -> bool:
        return self.tasks.get(task.task) is task

    def serve_lost(self) -> None:
        """No goodbye: hold everything for a while, another serve may come."""
        self.disarm_all()
        self._losses += 1
        number = self._losses
        self.timers.after(self.grace, lambda: self._orphaned(number))

    def serve_came(self) -> None:
        self.disarm_all()  # what an earlier one knew of is nothing to this one
        self.untold.clear()  # its list tells of all there are
        self._losses += 1
        self.leaving = False

    def arm(self, plan: Plan) -> None:
        """Have it ready to be fired."""
        self.disarm(plan.task)
        if len(self.armed) < self.starter.spares.enough:
            self.starter.set_aside(plan)
        self.armed[plan.task] = plan

    def disarm(self, task: str) -> Plan | None:
        """What was armed, which then holds nothing any more."""
        plan = self.armed.pop(task, None)
        if plan is not None:
            self.starter.drop(plan)
        return plan

    def disarm_all(self) -> None:
        for task in [*self.armed]:
            self.disarm(task)

    def terminated(self) -> None:
        """SIGTERM: serve decides while it is here, else nobody is to be waited for."""
        if self.door.serve is None:
            self.let_go()

    def _orphaned(self, number: int) -> None:
        if number == self._losses:
            self.let_go()

    def let_go(self) -> None:
        """Serve does not come back: no more new connections, and away once nothing lives."""
        self.leaving = True
        self.gateway.drop_sockets()
        self.gateway.stop()
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        if not self.leaving or self.door.serve is not None:
            return
        alive = any(task.exit is None for task in self.tasks.values())
        self.done = not alive and not self.exits.unsaved
        if not self.done and not alive:
            self.timers.after(1.0, self._leave_if_idle)

    def fired(self, task: Task) -> None:
        """Serve hears of it when it launches it itself, which it does a moment later; should nobody have asked it to,
        or the task end before, it is told."""
        self.untold[task.task] = task
        self.calm_at = time.monotonic() + CALM_SECONDS
        self.timers.after(UNTOLD_SECONDS, lambda: self._tell_fired(task))

    def _tell_fired(self, task: Task) -> None:
        if self.untold.pop(task.task, None) is task:
            self.tell({"op": "launched", **task.record()})

    def _ended(self, task: Task) -> None:
        self._tell_fired(task)
        if task.is_gateway:
            self.gateway.ended(task)
            self.forget(task)
        else:
            self.journals.announce()  # whoever hears of the end can read all of its output
            self.tell(task.exited())
        self._leave_if_idle()

    def forget(self, task: Task) -> None:
        """Nothing of it is needed any more but its stored output."""
        del self.tasks[task.task]
        self.exits.unsaved.pop(task.task, None)
        for reader in task.readers:
            self.outputs.close(reader)
        task.close()
        if not task.is_gateway:
            self.journals.drop(task.task)
        self.starter.forget(task)

    def tell(self, message: dict[str, Any]) -> None:
        self.door.tell(message)

    def _tell_lines(self, news: dict[str, int], count: int) -> None:
        self.tell({"op": "lines", "deployments": news, "count": count})

    def _sweep(self) -> None:
        busy = {reader.journal for reader in self.outputs.readers.values()}
        self.journals.close_idle(busy)
        self.timers.after(IDLE_SECONDS, self._sweep)

    def close(self) -> None:
        """Leave nothing behind but stored output and exit records."""
        self.door.close()
        self.disarm_all()
        self.starter.spares.clear()
        os.ftruncate(self.lock, 0)
