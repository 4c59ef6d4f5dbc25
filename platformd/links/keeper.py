"""Serve's end of the keeper's socket: orders out, facts in, another keeper at once when this one is gone.

Made by the composition root. Callbacks run on the loop's thread; `send` may be called from any thread and puts the
packet on the socket right there, so that a launch waits for no loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platformd import observability
from platformd.errors import PlatformError
from platformd.keeper import wire
from platformd.links.start import KEEPER_DIR, KeeperUnavailable, command, reach

__all__ = ["KeeperLink", "KeeperUnavailable", "Welcome"]

Message = dict[str, Any]

GREETING_SECONDS = 10.0
REQUEST_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
PACKETS_A_TURN = 64
_NOTICES = {"gateway_started", "gateway_exited", "gateway_failed"}  # answers and news alike

log = observability.get_logger("keeper-link")


class KeeperRefused(PlatformError):
    """The keeper would not do what was asked; the message is its own."""

    status, code = 500, "KEEPER_REFUSED"


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a keeper says of itself: `tasks` are the `task` messages of all it knows."""

    pid: int
    version: str
    boot_id: str
    sockets: tuple[str, ...]
    gateway_pid: int | None
    tasks: tuple[Message, ...]

    @property
    def outdated(self) -> bool:
        """True when the keeper runs other code than is installed here: `KeeperLink.upgrade` is due."""
        return self.version != wire.source_version(KEEPER_DIR)


@dataclass(slots=True)
class _Waiting:
    op: str
    answers: frozenset[str]
    name: str | None
    reply: asyncio.Future[tuple[Message, list[int]]] = field(repr=False)

    def is_answered_by(self, message: Message) -> bool:
        if self.reply.done():
            return False
        if message["op"] == "error":
            return bool(message.get("of") == self.op)
        return message["op"] in self.answers and (self.name is None or message.get("name") == self.name)


class KeeperLink:
    """The connection, kept up until `close` or `bye`."""

    def __init__(
        self,
        data_dir: Path,
        loop: asyncio.AbstractEventLoop,
        on_event: Callable[[Message], None],
        on_lost: Callable[[], None],
        *,
        grace: float | None = None,
    ) -> None:
        self.data_dir, self.loop = data_dir, loop
        self.on_event, self.on_lost = on_event, on_lost
        self.grace = grace
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._greeted: socket.socket | None = None
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._waiting: list[_Waiting] = []
        self._held: dict[str, socket.socket] = {}
        self._gateway: Message | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._closed = False

    # -- what serve asks

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Put a message on the socket now, from any thread; KeeperUnavailable while there is no keeper.

        Descriptors are duplicated on the way: the caller may close its own at once.
        """
        packet, all_fds, carrier = wire.pack(message, fds)
        try:
            with self._lock:
                self._send_locked(packet, all_fds)
        finally:
            if carrier is not None:
                os.close(carrier)

    async def request(self, message: Message, answers: Iterable[str]) -> tuple[Message, list[int]]:
        """Send and wait for the first message whose op is one of `answers`; the caller owns its descriptors."""
        reply: asyncio.Future[tuple[Message, list[int]]] = self.loop.create_future()
        waiting = _Waiting(message["op"], frozenset(answers), message.get("name"), reply)
        self._waiting.append(waiting)
        try:
            self.send({key: value for key, value in message.items() if key != "fds"}, message.get("fds", ()))
            async with asyncio.timeout(REQUEST_SECONDS):
                return await reply
        except TimeoutError as error:
            raise KeeperUnavailable(
                f"the keeper did not answer {message['op']} in {REQUEST_SECONDS} s"
            ) from error
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def offer(self, name: str, sock: socket.socket) -> None:
        """Have the keeper hold a duplicate of a listening socket; so do we, for the keeper after it."""
        self._hold(name, sock.dup())
        await self.request({"op": "offer", "name": name, "fds": [sock.fileno()]}, ["offered"])

    async def take(self, name: str) -> socket.socket | None:
        """The listening socket an earlier serve offered, None when the keeper holds none."""
        _, fds = await self.request({"op": "take", "name": name}, ["socket", "no_socket"])
        if not fds:
            return None
        sock = socket.socket(fileno=fds[0])
        self._hold(name, sock.dup())
        return sock

    async def gateway(self, argv: list[str], env: dict[str, str], sockets: list[str]) -> int:
        """Have the keeper run this gateway on the sockets of these names: its pid."""
        self._gateway = {"op": "gateway", "argv": argv, "env": env, "sockets": sockets}
        answer, _ = await self.request(self._gateway, ["gateway_started", "gateway_failed"])
        if answer["op"] == "gateway_failed":
            raise KeeperRefused(answer["message"])
        return int(answer["pid"])

    async def upgrade(self) -> str:
        """Have the keeper become the program that is installed here, in place: its new version."""
        message = {"op": "upgrade", "argv": command()}
        answer, _ = await self.request(message, ["upgraded", "upgrade_failed"])
        if answer["op"] == "upgrade_failed":
            raise KeeperRefused(answer["message"])
        return str(answer["version"])

    async def bye(self) -> None:
        """Orderly stop: the keeper drops the listeners, ends the gateway, and leaves once no task lives."""
        self._closed = True
        try:
            await self.request({"op": "bye"}, ["bye"])
        finally:
            self.close()

    def close(self) -> None:
        """Let go without a goodbye, as a kill would; on the loop's thread."""
        self._closed = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        self._detach()
        for sock in self._held.values():
            sock.close()
        self._held.clear()

    # -- coming and going

    async def connect(self) -> Welcome:
        """Reach the keeper, starting one when none answers."""
        sock, welcome, backlog = await self.loop.run_in_executor(None, self._greet)
        with self._lock:
            self._sock, self._greeted = sock, None
        self.loop.add_reader(sock.fileno(), self._readable)
        for message in backlog:
            self._deliver(message, [])
        return welcome

    def _greet(self) -> tuple[socket.socket, Welcome, list[Message]]:
        """On a worker thread: connect, say hello, hear what there is."""
        sock = reach(self.data_dir, self.grace)
        try:
            sock.settimeout(GREETING_SECONDS)
            wire.send(sock, {"op": "hello", "v": wire.VERSION, "pid": os.getpid()})
            welcome, backlog = _hear(sock)
            sock.setblocking(False)
        except (OSError, wire.WireError) as error:
            sock.close()
            raise KeeperUnavailable(
                f"the keeper of {self.data_dir} went away at the greeting: {error}"
            ) from error
        except BaseException:
            sock.close()
            raise
        with self._lock:
            if not self._closed:
                self._greeted = sock
                return sock, welcome, backlog
        sock.close()
        raise KeeperUnavailable("the link was closed while it connected")

    def _lost(self) -> None:
        self._detach()
        if self._closed:
            return
        log.warning("keeper lost, starting another", data_dir=str(self.data_dir))
        if self._reconnecting is None or self._reconnecting.done():
            self._reconnecting = self.loop.create_task(self._reconnect())
        self.on_lost()

    async def _reconnect(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                welcome = await self.connect()
                log.info("keeper is back", pid=welcome.pid, tasks=len(welcome.tasks))
                self.on_event({"op": "resynced", "tasks": list(welcome.tasks), "pid": welcome.pid})
                await self._settle_in()
                return
            except (PlatformError, OSError) as error:
                log.error("no keeper yet", error=str(error), next_try_in=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _settle_in(self) -> None:
        """Give a new keeper what the one before it held."""
        for name, sock in self._held.items():
            await self.request({"op": "offer", "name": name, "fds": [sock.fileno()]}, ["offered"])
        if self._gateway is not None:
            await self.request(self._gateway, ["gateway_started", "gateway_failed"])

    def _detach(self) -> None:
        with self._lock:
            sock, self._sock = self._sock, None
            greeted, self._greeted = self._greeted, None
            queue, self._queue = self._queue, deque()
        for _, fds in queue:
            _close(fds)
        if greeted is not None:
            greeted.close()
        if sock is not None:
            self.loop.remove_reader(sock.fileno())
            self.loop.remove_writer(sock.fileno())
            sock.close()
        for waiting in self._waiting:
            if not waiting.reply.done():
                waiting.reply.set_exception(KeeperUnavailable(f"the keeper was lost during {waiting.op}"))

    def _hold(self, name: str, sock: socket.socket) -> None:
        older = self._held.pop(name, None)
        if older is not None:
            older.close()
        self._held[name] = sock

    # -- packets

    def _send_locked(self, packet: bytes, fds: list[int]) -> None:
        if self._sock is None:
            raise KeeperUnavailable("there is no keeper at the moment; another is being started")
        if not self._queue:
            try:
                wire.send_packet(self._sock, packet, fds)
                return
            except BlockingIOError:
                pass  # the keeper is behind: in order, from the loop
            except OSError as error:
                raise KeeperUnavailable(f"the keeper cannot be reached: {error}") from error
        self._queue.append((packet, [os.dup(fd) for fd in fds]))
        if len(self._queue) == 1:
            self.loop.call_soon_threadsafe(self._watch_writable)

    def _watch_writable(self) -> None:
        if self._sock is not None and self._queue:
            self.loop.add_writer(self._sock.fileno(), self._writable)

    def _writable(self) -> None:
        with self._lock:
            while self._sock is not None and self._queue:
                packet, fds = self._queue[0]
                try:
                    wire.send_packet(self._sock, packet, fds)
                except BlockingIOError:
                    return
                except OSError:
                    break  # the reader sees the loss and cleans up
                self._queue.popleft()
                _close(fds)
            if self._sock is not None:
                self.loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        for _ in range(PACKETS_A_TURN):
            if self._sock is None:
                return
            try:
                got = wire.receive(self._sock)
            except BlockingIOError:
                return
            except (OSError, wire.WireError) as error:
                log.error("keeper's packet unreadable", error=str(error))
                got = None
            if got is None:
                self._lost()
                return
            self._deliver(*got)

    def _deliver(self, message: Message, fds: list[int]) -> None:
        if message["op"] == "superseded":
            log.error("another serve took the keeper over", pid=message["pid"], data_dir=str(self.data_dir))
            self._closed = True
            return
        waiting = next((each for each in self._waiting if each.is_answered_by(message)), None)
        if waiting is not None and message["op"] == "error":
            waiting.reply.set_exception(KeeperRefused(message["message"]))
        elif waiting is not None:
            waiting.reply.set_result((message, fds))
        else:
            _close(fds)
        if waiting is None or message["op"] in _NOTICES:
            self.on_event(message)


def _hear(sock: socket.socket) -> tuple[Welcome, list[Message]]:
    """The welcome with its list of tasks, and what else was told meanwhile."""
    head: Message = {}
    tasks: list[Message] = []
    backlog: list[Message] = []
    while (got := wire.receive(sock)) is not None:
        message = got[0]
        match message["op"]:
            case "welcome":
                head = message
            case "task":
                tasks.append(message)
            case "refused":
                raise KeeperRefused(message["message"])
            case "synced":
                sockets, gateway_pid = tuple(head["sockets"]), head["gateway_pid"]
                version, boot_id = head["version"], head["boot_id"]
                return Welcome(head["pid"], version, boot_id, sockets, gateway_pid, tuple(tasks)), backlog
            case _:
                backlog.append(message)
    raise ConnectionResetError("end of stream")


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
