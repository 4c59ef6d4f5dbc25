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

from . import upgrade, wire
from .commands import Commands
from .core import Keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any

    from .folders import Spares

BEHIND_A_TURN, MOST_BEHIND = 4, 64
_LOCK = "run/keeper.pid"


class Loop:
    """Turns events into calls on the keeper's parts."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.commands = Commands(keeper)
        self.epoll = keeper.epoll
        self.bulk = keeper.outputs.epoll.fileno()
        self.wakeup = _catch_signals()
        self.children = True
        for fd in (self.bulk, self.wakeup):
            self.epoll.register(fd, select.EPOLLIN)

    def run(self) -> None:
        """Until there is nothing left to keep."""
        keeper, behind = self.keeper, self.keeper.behind
        while not keeper.done:
            spares = keeper.starter.spares
            wait = 0 if self.children else keeper.timers.wait()
            if behind or spares.short():
                pause = self._pause()
                wait = pause if wait < 0 else min(wait, pause)
            bulk = False
            for fd, events in self.epoll.poll(wait, 64):
                if fd == self.bulk:
                    bulk = True
                else:
                    self._fenced(self._dispatch, fd, events)
            self._fenced(keeper.timers.run)
            if bulk:
                self._fenced(keeper.outputs.pump)
            if self.children:
                self.children = bool(self._fenced(keeper.exits.collect))
            if not self._pause():
                self._catch_up(behind, spares)
        while behind:
            self._fenced(behind.popleft())

    def _pause(self) -> float:
        """Seconds that what was left behind still has to wait: what was just started needs the processor more."""
        if len(self.keeper.behind) > MOST_BEHIND:
            return 0.0
        return max(0.0, self.keeper.calm_at - time.monotonic())

    def _catch_up(self, behind: deque[Callable[[], None]], spares: Spares) -> None:
        for _ in range(min(BEHIND_A_TURN, len(behind))):
            self._fenced(behind.popleft())
        if not behind and spares.short():
            self._fenced(spares.top_up)

    def _dispatch(self, fd: int, events: int) -> None:
        keeper = self.keeper
        if fd == self.wakeup:
            self._signalled()
        elif fd == keeper.door.listener.fileno():
            keeper.door.admit()
        elif fd in keeper.exits.adopted:
            keeper.exits.adopted_ended(fd)
        else:
            for message in keeper.door.receive(fd, events):
                self.commands.handle(*message)

    def _fenced(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:
            report(f"{error!r} in {_where(error)}")
            return None

    def _signalled(self) -> None:
        numbers = os.read(self.wakeup, 4096)
        self.children = self.children or signal.SIGCHLD in numbers
        if signal.SIGTERM in numbers:
            self.keeper.terminated()


def _where(error: BaseException) -> str:
    """The way to where it was raised; `traceback` would open files, and that may be what cannot be done."""
    steps, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        steps.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " > ".join(steps)


def _catch_signals() -> int:
    """The descriptor that brings the numbers of signals as bytes."""
    receiver, sender = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return receiver


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
        if state is None:
            keeper.begin()
        else:
            upgrade.restore(keeper, state)
            keeper.tell({"op": "upgraded", "v": wire.VERSION, "version": keeper.version})
        keeper.settle()
        loop = Loop(keeper)
    except BaseException as error:
        if ready >= 0:
            os.write(ready, f"the keeper cannot start in {os.getcwd()}: {error}\n".encode())
        raise
    if ready >= 0:
        os.write(ready, b"ok")
        os.close(ready)
    loop.run()
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
