"""How processes end: children through waitid, adopted ones through pidfds, each noted on disk before it is told.

The order is: see it → take in what it still had written → record on disk → reap → tell serve. One thread.
"""

from __future__ import annotations

import os
import select

from . import linux
from .output import last_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .tasks import Task
    from .timers import Timers

ORPHANS_A_TURN = 64
RETRY_SECONDS = 1.0
STATUS_TRIES, STATUS_SECONDS = 200, 0.005


class Exits:
    """Watches every process; `ended(task)` is called once for each, after its record was written or refused."""

    def __init__(self, epoll: select.epoll, timers: Timers, ended: Callable[[Task], None]) -> None:
        self.epoll, self.timers, self.ended = epoll, timers, ended
        self.children: dict[int, Task] = {}
        self.adopted: dict[int, Task] = {}
        self.unsaved: dict[str, Task] = {}

    def watch(self, task: Task) -> None:
        """Note its end; a process that is no child is watched through a pidfd of its own."""
        if task.child:
            self.children[task.pid] = task
            return
        if task.pidfd < 0:
            try:
                task.pidfd = os.pidfd_open(task.pid)
            except OSError:
                self._finish(task, None)
                return
            if linux.born_at(task.pid) != task.start_time:  # it has ended, the number is another's now
                self._finish(task, None)
                return
        self.adopted[task.pidfd] = task
        self.epoll.register(task.pidfd, select.EPOLLIN)

    def adopted_ended(self, fd: int) -> None:
        """A pidfd became readable: its exit code is known once its parent has reaped it, where at all."""
        task = self.adopted.pop(fd)
        self.epoll.unregister(fd)
        self._await_status(task, STATUS_TRIES)

    def _await_status(self, task: Task, tries: int) -> None:
        status = linux.exit_status(task.pidfd) if task.pidfd >= 0 else None
        if status is None and tries > 0 and linux.knows_exit_status():
            self.timers.after(STATUS_SECONDS, lambda: self._await_status(task, tries - 1))
        else:
            self._finish(task, status)

    def collect(self) -> bool:
        """Deal with children that ended, at most one task a turn; True when there are more."""
        for _ in range(ORPHANS_A_TURN):
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if info is None:
                return False
            task = self.children.pop(info.si_pid, None)
            if task is not None:
                self._settle(task, _outcome(info.si_code, info.si_status))
            os.waitid(os.P_PID, info.si_pid, os.WEXITED | os.WNOHANG)
            if task is not None:
                self.ended(task)
                return True
        return True

    def _finish(self, task: Task, status: int | None) -> None:
        if status is None:
            outcome: dict[str, Any] = {"code": None, "signal": None, "unknown": True}
        else:
            code = os.waitstatus_to_exitcode(status)
            outcome = {
                "code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "unknown": False,
            }
        task.close()
        self._settle(task, outcome)
        self.ended(task)

    def _settle(self, task: Task, outcome: dict[str, Any]) -> None:
        for reader in task.readers:
            reader.drain()
        lines = last_lines(*task.readers) if task.readers else []
        task.exit = {**outcome, "boot_ns": linux.boot_ns(), "last_lines": lines}
        self._save(task)

    def _save(self, task: Task) -> None:
        try:
            task.save_exit()
        except OSError:
            if not self.unsaved:
                self.timers.after(RETRY_SECONDS, self.save_again)
            self.unsaved[task.task] = task

    def save_again(self) -> None:
        """Records that a full disk refused are tried until it takes them."""
        unsaved, self.unsaved = self.unsaved, {}
        for task in unsaved.values():
            self._save(task)


def _outcome(si_code: int, si_status: int) -> dict[str, Any]:
    if si_code == os.CLD_EXITED:
        return {"code": si_status, "signal": None, "unknown": False}
    return {"code": None, "signal": si_status, "unknown": False}
