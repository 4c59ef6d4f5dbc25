"""The gateway process: started when serve asks, restarted when it dies, replaced when serve asks for another.

Its listening sockets belong to the keeper, so one gateway follows another on the same queue of connections. One
thread.
"""

from __future__ import annotations

import os
import signal
import time

from . import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .tasks import Task
    from .timers import Timers

    Start = Callable[[list[str], dict[str, str], list[int]], Task]

BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, GOOD_SECONDS = 0.02, 2.0, 10.0
PATIENCE_SECONDS = 20.0
FIRST_SOCKET = 3


class Gateway:
    """`wanted` is what serve asked for, `current` the process that does it; an older one may still be finishing."""

    def __init__(self, timers: Timers, start: Start, tell: Callable[[dict[str, Any]], None]) -> None:
        self.timers, self.start, self.tell = timers, start, tell
        self.sockets: dict[str, int] = {}
        self.wanted: dict[str, Any] | None = None
        self.current: Task | None = None
        self.backoff = BACKOFF_SECONDS
        self.born = 0.0

    @property
    def pid(self) -> int | None:
        return self.current.pid if self.current else None

    def offer(self, name: str, fd: int) -> None:
        """Keep a listening socket, in place of an older one of that name."""
        older = self.sockets.get(name)
        self.sockets[name] = fd
        if older is not None:
            os.close(older)

    def drop_sockets(self) -> None:
        while self.sockets:
            os.close(self.sockets.popitem()[1])

    def want(self, argv: list[str], env: dict[str, str], names: list[str]) -> None:
        """Have a gateway run with exactly this; LookupError names a socket that is not held."""
        missing = [name for name in names if name not in self.sockets]
        if missing:
            raise LookupError(
                f"sockets {', '.join(missing)} were not offered; held: {', '.join(self.sockets)}"
            )
        self.wanted = {"argv": argv, "env": env, "sockets": names}
        if self.current is not None and self._serves_well(self.current):
            self._announce()
            return
        older, self.current = self.current, None
        if older is not None:
            self._end(older)
        self.backoff = BACKOFF_SECONDS
        self._start()

    def ended(self, task: Task) -> None:
        """One of our gateways ended."""
        outcome = task.exit or {}
        code = outcome.get("code")
        if code is None and outcome.get("signal") is not None:
            code = -outcome["signal"]
        self.tell({"op": "gateway_exited", "pid": task.pid, "code": code})
        if task is not self.current:
            return
        self.current = None
        if time.monotonic() - self.born > GOOD_SECONDS:
            self.backoff = BACKOFF_SECONDS
        self._retry()

    def stop(self) -> None:
        """It finishes what is in flight and leaves; none is started afterwards."""
        self.wanted = None
        if self.current is not None:
            self._end(self.current)

    def _end(self, task: Task) -> None:
        terminate(task)
        self.timers.after(PATIENCE_SECONDS, lambda: terminate(task, signal.SIGKILL))

    def adopt(self, task: Task) -> None:
        """A gateway that outlived its keeper goes on; of two, the one that was started last."""
        older, newer = sorted((self.current or task, task), key=lambda one: one.boot_ns)
        if older is not newer:
            self._end(older)
        self.current, self.born = newer, time.monotonic()

    def recover_sockets(self) -> None:
        """After a killed keeper: the listeners of the gateway that lives on, where the kernel lets us have them."""
        if self.current is None:
            return
        names = linux.environment(self.current.pid).get(b"LISTEN_FDNAMES", b"").decode().split(":")
        for number, name in enumerate(filter(None, names), FIRST_SOCKET):
            fd = linux.fetch_descriptor(self.current.pid, number)
            if fd is not None:
                self.sockets.setdefault(name, fd)

    def _start(self) -> None:
        wanted = self.wanted
        if wanted is None or self.current is not None:
            return
        env = {**wanted["env"], **_listen_env(wanted["sockets"])}
        try:
            fds = [self.sockets[name] for name in wanted["sockets"]]
            self.current = self.start(wanted["argv"], env, fds)
        except (OSError, LookupError, ValueError) as error:
            self.tell({"op": "gateway_failed", "message": f"the gateway cannot be started: {error}"})
            self._retry()
            return
        self.born = time.monotonic()
        self._announce()

    def _retry(self) -> None:
        if self.wanted is None:
            return
        self.timers.after(self.backoff, self._start)
        self.backoff = min(self.backoff * 2, MAX_BACKOFF_SECONDS)

    def _announce(self) -> None:
        self.tell({"op": "gateway_started", "pid": self.pid})

    def _serves_well(self, task: Task) -> bool:
        """True when `task` runs what is wanted on the very sockets we hold."""
        wanted = self.wanted or {}
        env = {**wanted["env"], **_listen_env(wanted["sockets"]), "TASK_ID": task.task}
        same_env = linux.environment(task.pid) == {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
        same_argv = linux.arguments(task.pid) == [os.fsencode(word) for word in wanted["argv"]]
        held = {os.fstat(self.sockets[name]).st_ino for name in wanted["sockets"]}
        return same_env and same_argv and held <= _inodes(task.pid)

    def state(self) -> dict[str, Any]:
        return {
            "sockets": self.sockets,
            "wanted": self.wanted,
            "current": self.current.task if self.current else None,
            "backoff": self.backoff,
            "born": self.born,
        }

    def restore(self, state: dict[str, Any], tasks: dict[str, Task]) -> None:
        self.sockets, self.wanted = state["sockets"], state["wanted"]
        self.current = tasks.get(state["current"])
        self.backoff, self.born = state["backoff"], state["born"]
        if self.current is None:
            self._retry()


def _listen_env(names: list[str]) -> dict[str, str]:
    return {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}


def _inodes(pid: int) -> set[int]:
    """The inodes of what a process holds open."""
    found = set()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.add(os.stat(f"/proc/{pid}/fd/{name}").st_ino)
            except OSError:
                continue
    except OSError:
        return set()
    return found


def terminate(task: Task, number: int = signal.SIGTERM) -> None:
    """A signal to that very process and no other of the same number."""
    try:
        pidfd = os.pidfd_open(task.pid)
    except OSError:
        return
    try:
        if linux.start_time(task.pid) == task.start_time:
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return
    finally:
        os.close(pidfd)
