"""The reading half of a client's connection: heads, bodies, pipelining, back-pressure.

`server.Client` is its other half and says what is done with a request. Gateway loop thread only.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from platformd.gateway import framing
from platformd.gateway.answers import Problem
from platformd.gateway.chunks import BadChunk, ChunkReader, chunk, last_chunk
from platformd.gateway.framing import HEAD_END, HEAD_LIMIT, Block, Fault

if TYPE_CHECKING:
    from platformd.gateway.core import Gateway
    from platformd.gateway.dial import Stalled
    from platformd.gateway.routes import Deployment, Task
    from platformd.gateway.upstream import Upstream

# IDLE reads a head; HELD queues; FOLLOWING hears of a wake; DIALING has a task but no connection; SENT is with the app;
# LINGER has its last answer and is only read out; GONE is over.
IDLE, HELD, FOLLOWING, DIALING, SENT, TUNNEL, LINGER, GONE = range(8)

# All clients read into the same memory: what came in is copied out before the loop goes on.
READ = memoryview(bytearray(HEAD_LIMIT))


class Reader(asyncio.BufferedProtocol, ABC):
    """One connection from the outside, as far as reading goes."""

    __slots__ = (
        "_advancing",
        "_block_key",
        "_chunks",
        "_left_to_read",
        "_memo",
        "_peer",
        "_trusted",
        "_unsent",
        "_unsent_since",
        "answered",
        "block",
        "choked",
        "closing",
        "cold",
        "deployment",
        "dialing",
        "gateway",
        "head_size",
        "held_at",
        "inbox",
        "method",
        "passive",
        "paused",
        "plain",
        "request_id",
        "retried",
        "since",
        "state",
        "stream",
        "target",
        "task",
        "transport",
        "unread",
        "upstream",
        "wake_took",
    )

    transport: asyncio.Transport
    block: Block

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.state = IDLE
        self.inbox = b""
        self.upstream: Upstream | None = None
        self.dialing: Stalled | None = None
        self.task: Task | None = None
        self.deployment: Deployment | None = None
        self.unread = self.closing = self.choked = self.paused = self.cold = self.passive = False
        self.stream = self.answered = self.retried = self.plain = self._advancing = False
        self.since = gateway.now
        self.held_at = self.wake_took = 0.0
        self.head_size = self._unsent = 0
        self._unsent_since = 0.0
        self.method = self.target = self.request_id = self._block_key = b""
        self._memo: Block | None = None

    # Connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        host = peer[0] if peer else "unknown"
        self._peer = host.encode()
        self._trusted = self.gateway.trusts(host)
        self.gateway.joined(self)

    def eof_received(self) -> bool:
        self.left()
        return False

    def connection_lost(self, _: Exception | None) -> None:
        self.left()
        self.gateway.gone(self)

    def pause_writing(self) -> None:
        self.choked = True
        if self.upstream is not None and self.state >= SENT:
            self.upstream.pause_reading()

    def resume_writing(self) -> None:
        self.choked = False
        if self.upstream is not None and self.state >= SENT:
            self.upstream.resume_reading()
        elif self.inbox and self.state == IDLE:
            self.advance()

    def pause_reading(self) -> None:
        """No more bytes from the client for now; whether it left is then looked up each second."""
        if not self.paused and not self.transport.is_closing():
            self.paused = True
            self.gateway.paused.add(self)
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.paused:
            self.paused = False
            self.gateway.paused.discard(self)
            if not self.transport.is_closing():
                self.transport.resume_reading()

    # Reading

    def get_buffer(self, _: int) -> memoryview:
        if self.state == HELD or self.state == DIALING:
            return READ[: max(1, self.gateway.hold.allowance() - len(self.inbox))]
        return self.gateway.read_view

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(READ[:nbytes])
        if self.state == IDLE and not self.inbox and not self.choked:
            if 0 <= data.find(HEAD_END) == nbytes - 4:
                self._request(data)
            else:
                self.inbox = data
                self.advance()
        else:
            self._more(data)

    def size(self) -> int:
        """Bytes kept in memory for the request."""
        return self.head_size + len(self.inbox)

    def _more(self, data: bytes) -> None:
        state = self.state
        if state == SENT and self.unread:
            self.since = self.gateway.now
            self.pass_body(data)
        elif state == TUNNEL:
            assert self.upstream is not None
            self.upstream.transport.write(data)
        elif state < LINGER:
            self.inbox += data
            if state == IDLE:
                self.advance()
                return
            if state == HELD:
                self.gateway.hold.grew(len(data))
            if len(self.inbox) >= self.gateway.hold.allowance():
                self.pause_reading()

    def advance(self) -> None:
        """Take requests out of the inbox, one after the other, until one is under way."""
        if self._advancing:
            return
        self._advancing = True
        while self.state == IDLE and self.inbox and not self.choked:
            if self.inbox[0] in b"\r\n":
                self.inbox = self.inbox.lstrip(b"\r\n")
                continue
            end = self.inbox.find(HEAD_END) + 4
            if end < 4 or end > HEAD_LIMIT:
                self._unfinished()
                break
            head, self.inbox = self.inbox[:end], self.inbox[end:]
            self.gateway.heads.pop(self, None)
            self._request(head)
        self._advancing = False

    def _unfinished(self) -> None:
        try:
            framing.check_partial(self.inbox)
        except Fault as fault:
            self.refuse(fault)
            return
        self.gateway.heads.setdefault(self, self.gateway.now)

    def _request(self, head: bytes) -> None:
        gateway = self.gateway
        try:
            method, target, rest = head.split(b" ", 2)
            if rest == self._block_key and self._memo is not None:
                block = self._memo
            else:
                block = framing.read_block(rest, self._peer, self._trusted)
                self._block_key, self._memo = rest, block
            if not framing.is_origin_form(target) or not method.isalpha():
                target = framing.read_target(method, target, block)
        except ValueError:
            self.refuse(Fault("The request line must be METHOD TARGET HTTP/1.1."))
            return
        except Fault as fault:
            self.refuse(fault)
            return
        self.block = block
        self.method = method
        self.target = target
        self.request_id = block.request_id or gateway.new_id()
        self.head_size = len(head)
        self.held_at = self.wake_took = 0.0
        self.answered = self.retried = self.passive = self.cold = False
        self.unread = block.has_body
        if block.has_body:
            self._left_to_read = block.length
            self._chunks = ChunkReader() if block.chunked else None
        self.dispatch()

    def pass_body(self, data: bytes) -> None:
        """Forward request body; what follows it stays in the inbox."""
        assert self.upstream is not None
        if self._chunks is None:
            piece = data[: self._left_to_read]
            self._left_to_read -= len(piece)
            self.unread = self._left_to_read > 0
            self.inbox += data[len(piece) :]
            if piece:
                self.upstream.transport.write(piece)
            return
        try:
            body = self._chunks.feed(data)
        except BadChunk as error:
            self.spoiled(Problem(400, "BAD_FRAMING", f"The request body is malformed: {error}."))
            return
        done = self._chunks.done
        self.upstream.transport.write(chunk(body) + (last_chunk(self._chunks.trailers) if done else b""))
        if done:
            self.unread = False
            self.inbox = self._chunks.rest

    def read_out(self) -> None:
        """If all of an unforwarded body is here already, it need not cost the connection."""
        if not self.unread:
            return
        if self._chunks is None:
            self.unread = len(self.inbox) < self._left_to_read
            self.inbox = b"" if self.unread else self.inbox[self._left_to_read :]
            return
        with suppress(BadChunk):
            self._chunks.feed(self.inbox)
        self.unread = not self._chunks.done
        self.inbox = self._chunks.rest

    def refuse(self, fault: Fault) -> None:
        """A head that cannot be understood: answer and read out."""
        self.gateway.heads.pop(self, None)
        problem = Problem(fault.status, fault.code, fault.detail)
        self.inbox = b""
        self.unread = True
        self.transport.write(
            problem.render(self.gateway.new_id(), full=False, page=False, close=True, body=True)
        )
        self.end()

    def expired_head(self) -> None:
        """The head took too long to arrive."""
        self.refuse(Fault("The request head did not arrive in time.", 408, "REQUEST_TIMEOUT"))

    def stuck_for(self, now: float) -> float:
        """Seconds since the client last took a byte of what waits for it; 0 when nothing much waits."""
        unsent = self.transport.get_write_buffer_size() if self.choked else 0
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        return now - self._unsent_since

    # What the other half does

    @abstractmethod
    def dispatch(self) -> None:
        """Route the request that `block`, `method` and `target` describe."""

    @abstractmethod
    def left(self) -> None:
        """The client is gone."""

    @abstractmethod
    def spoiled(self, problem: Problem) -> None:
        """What the client or the clock did makes the exchange impossible."""

    @abstractmethod
    def end(self) -> None:
        """The last answer of this connection is written."""
