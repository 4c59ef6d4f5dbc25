"""The keeper's one thread: waits for commands, output, exits and timers, and deals with them in that order.

Run by `__main__`. Nothing that goes wrong while one event is handled may end the process: it is written to
`run/keeper.log` and the next event is taken.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import time
import traceback
from collections import deque

from . import adopt, connection, folders, linux, upgrade, wire
from .commands import Commands
from .connection import Door
from .exits import Exits
from .gateway import Gateway
from .journal import IDLE_SECONDS, Journals
from .launch import Spawner
from .output import Outputs
from .starter import Starter
from .timers import Timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .tasks import Task

BEHIND_A_TURN = 4
_LOCK = "run/keeper.pid"


class Keeper:
    """Everything the process holds, and the loop."""

    def __init__(self, lock: int, grace: float, state: dict[str, Any] | None) -> None:
        self.lock, self.grace = lock, grace
        self.version = wire.source_version(os.path.dirname(os.path.abspath(__file__)))
        self.epoll = select.epoll()
        self.timers = Timers()
        self.behind: deque[Callable[[], None]] = deque()
        self.tasks: dict[str, Task] = {}
        self.leaving = self.done = False
        self._losses = 0
        self.outputs = Outputs(self.timers.after)
        self.journals = Journals(self._tell_lines, self.timers.after)
        self.exits = Exits(self.epoll, self.timers, self._ended)
        old = state or {}
        self.spawner = Spawner(old.get("oom"), old.get("nofile"))
        self.starter = Starter(self.spawner, self.journals, self.behind, self.know)
        self.commands = Commands(self)
        self.gateway = Gateway(self.timers, self.starter.gateway, self._tell)
        listener = connection.bind() if state is None else connection.reopen(state["listener"])
        self.door = Door(self.epoll, self.timers, listener, self.commands.handle, self.serve_lost)
        self.wakeup = self._catch_signals()
        self.epoll.register(self.outputs.epoll.fileno(), select.EPOLLIN)
        linux.become_subreaper()

    def begin(self, state: dict[str, Any] | None) -> None:
        """Take up what there is: the state of the program before, or what a killed keeper left."""
        if state is not None:
            upgrade.restore(self, state)
            self._tell({"op": "upgraded", "v": wire.VERSION, "version": self.version})
        else:
            folders.prepare()
            for task in adopt.adopt(self.journals, self.starter.boot_id):
                self.know(task)
                if task.is_gateway and task.exit is None:
                    self.gateway.adopt(task)
            self.gateway.recover_sockets()
        if self.door.serve is None:
            self.serve_lost()
        self.behind.append(self.starter.top_up)
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

    def loop(self) -> None:
        """Until there is nothing left to keep."""
        children = True
        while not self.done:
            busy = self.behind or children
            bulk = False
            for fd, events in self.epoll.poll(0 if busy else self.timers.wait(), 64):
                if fd == self.wakeup:
                    children = self._drain_wakeup() or children
                elif fd == self.outputs.epoll.fileno():
                    bulk = True
                else:
                    self._fenced(self._dispatch, fd, events)
            self._fenced(self.timers.run)
            if bulk:
                self._fenced(self.outputs.pump)
            if children:
                children = bool(self._fenced(self.exits.collect))
            for _ in range(min(BEHIND_A_TURN, len(self.behind))):
                self._fenced(self.behind.popleft())

    def _dispatch(self, fd: int, events: int) -> None:
        if fd == self.door.listener.fileno():
            self.door.admit()
        elif fd in self.exits.adopted:
            self.exits.adopted_ended(fd)
        else:
            self.door.handle(fd, events)

    def _fenced(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception:
            report(traceback.format_exc())
            return None

    # -- serve comes and goes

    def serve_lost(self) -> None:
        """No goodbye: hold everything for a while, another serve may come."""
        self._losses += 1
        number = self._losses
        self.timers.after(self.grace, lambda: self._orphaned(number))

    def serve_came(self) -> None:
        self._losses += 1
        self.leaving = False

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

    def _ended(self, task: Task) -> None:
        if task.is_gateway:
            self.gateway.ended(task)
            self.forget(task)
        else:
            self._tell(exited(task))
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

    def _tell(self, message: dict[str, Any]) -> None:
        self.door.tell(message)

    def _tell_lines(self, news: dict[str, int]) -> None:
        self._tell({"op": "lines", "deployments": news})

    # -- the process itself

    def _sweep(self) -> None:
        busy = {reader.journal for reader in self.outputs.readers.values()}
        self.journals.close_idle(busy)
        self.timers.after(IDLE_SECONDS, self._sweep)

    def _catch_signals(self) -> int:
        receiver, sender = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.let_go())
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.epoll.register(receiver, select.EPOLLIN)
        return receiver

    def _drain_wakeup(self) -> bool:
        """True when a child may have ended."""
        try:
            return signal.SIGCHLD in os.read(self.wakeup, 4096)
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Leave nothing behind but stored output and exit records."""
        self.door.close()
        self.starter.spares.clear()
        while self.behind:
            self._fenced(self.behind.popleft())
        os.ftruncate(self.lock, 0)


def exited(task: Task) -> dict[str, Any]:
    """What serve is told of an end."""
    return {
        "op": "exited",
        "task": task.task,
        "deployment": task.deployment,
        "pid": task.pid,
        **(task.exit or {}),
    }


def report(text: str) -> None:
    """To `run/keeper.log`; a full disk must not matter here either."""
    try:
        os.write(2, f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text.rstrip()}\n".encode())
    except OSError:
        return


def run(ready: int, grace: float, resume: int) -> int:
    """Be the keeper; `ready` is the pipe that learns whether we are."""
    state = upgrade.take_over(resume) if resume >= 0 else None
    lock = state["lock"] if state else _take_lock(ready)
    if lock < 0:
        return 1
    try:
        keeper = Keeper(lock, grace, state)
        keeper.begin(state)
    except BaseException as error:
        if ready >= 0:
            os.write(ready, f"the keeper cannot start in {os.getcwd()}: {error}\n".encode())
        raise
    if ready >= 0:
        os.write(ready, b"ok")
        os.close(ready)
    keeper.loop()
    keeper.close()
    return 0


def _take_lock(ready: int) -> int:
    """One keeper per data directory; the file is never removed, so that its lock means something."""
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode().strip()
        os.write(ready, f"already kept by process {holder or '(leaving)'}\n".encode())
        return -1
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
