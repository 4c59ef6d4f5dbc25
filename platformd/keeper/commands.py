"""What serve may ask of the keeper, one method per `op`. One thread.

A descriptor that came with a message and is not taken out of its request is closed.
"""

from __future__ import annotations

import errno
import os
import select

from . import segments, upgrade, wire
from .connection import BATCH
from .launch import is_free
from .starter import Plan, proper_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .connection import Connection
    from .core import Keeper
    from .tasks import Task

    Message = dict[str, Any]


_FROM_ANYBODY = ("hello", "fire")
_HEARD_AT_ONCE = 1024
_UNSTARTABLE = (OSError, KeyError, TypeError, ValueError, OverflowError)


class Request:
    """One message of serve's with the descriptors that came beside it."""

    __slots__ = ("fds", "keeper", "message", "peer")

    def __init__(self, keeper: Keeper, peer: Connection, message: Message, fds: list[int]) -> None:
        self.keeper, self.peer, self.message, self.fds = keeper, peer, message, fds

    def reply(self, answer: Message, fds: Sequence[int] = ()) -> None:
        self.keeper.door.send(self.peer, answer, fds)


class Commands:
    """Dispatches messages; a fault in one is answered with `error` and changes nothing else."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.table = {
            "hello": self.hello,
            "launch": self.launch,
            "arm": self.arm,
            "disarm": self.disarm,
            "fire": self.fire,
            "forget": self.forget,
            "log": self.log,
            "offer": self.offer,
            "take": self.take,
            "gateway": self.gateway,
            "upgrade": self.upgrade,
            "bye": self.bye,
            "ping": self.ping,
        }

    def handle(self, peer: Connection, message: Message, fds: list[int]) -> None:
        op = message.get("op")
        try:
            if op not in _FROM_ANYBODY and peer is not self.keeper.door.serve:
                raise ValueError(f"{op!r} came before hello, or after another serve took over")
            if op not in self.table:
                raise ValueError(f"{op!r} is no operation; known: {', '.join(self.table)}")
            self.table[op](Request(self.keeper, peer, message, fds))
        except (OSError, KeyError, TypeError, ValueError) as error:
            reason = f"{error!r}" if isinstance(error, KeyError) else str(error)
            self.keeper.door.send(peer, {"op": "error", "of": op, "message": reason})
        except Exception as error:
            self.keeper.door.send(peer, {"op": "error", "of": op, "message": repr(error)})
            raise
        finally:
            for fd in fds:
                os.close(fd)

    def hello(self, request: Request) -> None:
        keeper = self.keeper
        if request.message.get("v") != wire.VERSION:
            text = f"protocol {request.message.get('v')!r} is not spoken here, only {wire.VERSION}"
            request.reply({"op": "refused", "v": wire.VERSION, "message": text})
            keeper.door.drop(request.peer)
            return
        keeper.door.welcome(request.peer)
        keeper.serve_came()
        welcome = {
            "op": "welcome",
            "v": wire.VERSION,
            "pid": os.getpid(),
            "version": keeper.version,
            "boot_id": keeper.starter.boot_id,
            "sockets": list(keeper.gateway.sockets),
            "gateway_pid": keeper.gateway.pid,
        }
        request.reply(welcome)
        for task in list(keeper.tasks.values()):
            if not task.is_gateway:
                request.reply({"op": "task", **task.record(), "exit": task.exit})
        request.reply({"op": "synced"})

    def launch(self, request: Request) -> None:
        keeper, name = self.keeper, str(request.message.get("task"))
        task = keeper.tasks.get(name)
        try:
            known = task is not None
            if _taken(keeper.disarm(name)):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            task = task or keeper.starter.task(Plan(request.message))
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0, "EIO")
            self._launch_failed(request, name, code, error.strerror or str(error))
            return
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            self._launch_failed(request, name, "EINVAL", f"{type(error).__name__}: {error}")
            return
        keeper.untold.pop(name, None)
        request.reply(_launched(task))
        keeper.starter.settle()
        if known and task.exit is not None:
            request.reply(task.exited())

    def _launch_failed(self, request: Request, task: object, code: str, message: str) -> None:
        failure = {"op": "launch_failed", "task": task, "code": code, "message": message}
        request.reply(failure)

    def arm(self, request: Request) -> None:
        """Have what a `launch` would start ready, for the gateway to fire when traffic comes; of what cannot be started
        the launch says why."""
        try:
            plan = Plan(request.message)
        except _UNSTARTABLE:
            return
        self.keeper.arm(plan)

    def disarm(self, request: Request) -> None:
        """Answered unless it was fired before; then serve has been told of that."""
        task = request.message["task"]
        self.keeper.disarm(task)
        if task not in self.keeper.tasks:
            request.reply({"op": "disarmed", "task": task})

    def fire(self, request: Request) -> None:
        """Start what is armed. `unarmed` means that nothing came of it: serve's own launch, which follows in any case,
        starts it then or hears why not."""
        self._hear_serve()
        keeper, name = self.keeper, request.message["task"]
        task = keeper.tasks.get(name)
        plan = keeper.armed.get(name)
        if task is None and plan is not None and not _taken(plan):
            del keeper.armed[name]
            try:
                task = keeper.starter.task(plan)
            except _UNSTARTABLE:
                keeper.starter.drop(plan)
            else:
                keeper.fired(task)
        request.reply({"op": "unarmed", "task": name} if task is None else _launched(task))
        keeper.starter.settle()

    def _hear_serve(self) -> None:
        """What serve said before the request came that makes the gateway fire, such as `disarm`, counts first."""
        serve = self.keeper.door.serve
        for _ in range(_HEARD_AT_ONCE):
            heard = 0
            if serve is not None and serve.alive:
                for message in self.keeper.door.receive(serve.sock.fileno(), select.EPOLLIN):
                    self.handle(*message)
                    heard += 1
            if heard < BATCH:
                return

    def forget(self, request: Request) -> None:
        task = self.keeper.tasks.get(request.message["task"])
        if task is None:
            self.keeper.journals.drop(request.message["task"])
        elif task.exit is not None:
            self.keeper.forget(task)

    def log(self, request: Request) -> None:
        stream = segments.STREAMS.index(request.message["stream"])
        lines = [line.encode("utf-8", "surrogateescape") for line in request.message["lines"]]
        journals = self.keeper.journals
        journal = journals.of(
            proper_name(request.message["deployment"]), proper_name(request.message["task"])
        )
        journal.lines(stream, lines)
        cursor = request.message.get("cursor")
        if isinstance(cursor, str):
            journal.mark(cursor)

    def offer(self, request: Request) -> None:
        if len(request.fds) != 1:
            raise ValueError(f"offer needs one descriptor, {len(request.fds)} came")
        self.keeper.gateway.offer(request.message["name"], request.fds.pop())
        request.reply({"op": "offered", "name": request.message["name"]})

    def take(self, request: Request) -> None:
        name = request.message["name"]
        held = self.keeper.gateway.sockets.get(name)
        if held is None:
            request.reply({"op": "no_socket", "name": name})
        else:
            request.reply({"op": "socket", "name": name}, [held])

    def gateway(self, request: Request) -> None:
        try:
            self.keeper.gateway.want(
                request.message["argv"], request.message["env"], request.message["sockets"]
            )
        except LookupError as error:
            request.reply({"op": "gateway_failed", "message": str(error)})

    def upgrade(self, request: Request) -> None:
        keeper = self.keeper
        keeper.disarm_all()
        while keeper.behind:
            keeper.behind.popleft()()
        keeper.starter.spares.clear()
        keeper.journals.announce()
        try:
            upgrade.hand_over(keeper, request.message["argv"])
        except OSError as error:
            text = f"{request.message['argv']} cannot be executed: {error.strerror}"
            request.reply({"op": "upgrade_failed", "message": text})

    def bye(self, request: Request) -> None:
        request.reply({"op": "bye"})
        self.keeper.door.drop(request.peer)
        self.keeper.let_go()

    def ping(self, request: Request) -> None:
        request.reply({"op": "pong"})


def _launched(task: Task) -> Message:
    record = {name: getattr(task, name) for name in ("task", "deployment", "pid", "start_time", "boot_ns")}
    return {"op": "launched", **record}


def _taken(armed: Plan | None) -> bool:
    """Its port was free when it was armed, which may be long ago."""
    port = None if armed is None else armed.handle.get("port")
    return port is not None and not is_free(port)
