"""The app's side: opening connections, the pool of each task, and reading answers.

An `Upstream` carries one exchange at a time for one `Client`; between exchanges it lies in its task's pool. The pool
belongs to the Task, never to an address, and goes with it. Gateway loop thread only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from platformd.gateway import framing
from platformd.gateway.chunks import BadChunk, ChunkReader, chunk, last_chunk
from platformd.gateway.framing import HEAD_END, HEAD_LIMIT, Answer, BadAnswer

if TYPE_CHECKING:
    from platformd.gateway.core import Gateway
    from platformd.gateway.routes import Task
    from platformd.gateway.server import Client

# What the bytes that come in next are.
HEAD, LENGTH, CHUNKS, UNTIL_CLOSE, TUNNEL, OVER = range(6)

MOST_IDLE = 128
_NO_BODY = (204, 304)
# How a kernel says that the app closed without having read all that was sent.
_UNREAD = (ConnectionResetError, BrokenPipeError)


class Upstream(asyncio.Protocol):
    """One connection to one task."""

    __slots__ = (
        "_answer",
        "_chunks",
        "_gateway",
        "_left",
        "_memo",
        "_memo_key",
        "_partial",
        "client",
        "idle_since",
        "paused",
        "reused",
        "state",
        "task",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, gateway: Gateway, task: Task, client: Client | None) -> None:
        self._gateway = gateway
        self.task = task
        self.client = client
        self.state = HEAD
        self.reused = False
        self.paused = False
        self.idle_since = 0.0
        self._partial = b""
        self._memo_key = b""
        self._memo: Answer | None = None
        self._answer: Answer | None = None
        self._left = 0
        self._chunks: ChunkReader | None = None

    # Connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._gateway.upstreams.add(self)
        client = self.client
        if client is None:
            self._pool()
        else:
            client.start(self)

    def eof_received(self) -> bool:
        self._ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._gateway.upstreams.discard(self)
        self._ended(exc)

    def pause_writing(self) -> None:
        if self.client is not None:
            self.client.pause_reading()

    def resume_writing(self) -> None:
        if self.client is not None:
            self.client.resume_reading()

    def pause_reading(self) -> None:
        """The client does not keep up."""
        if not self.paused and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The client keeps up again."""
        if self.paused and not self.transport.is_closing():
            self.paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """Leave the pool for good."""
        self.state = OVER
        self.transport.close()

    def expire(self, before: float) -> None:
        """Close it if it has lain in the pool since `before`."""
        if self.client is None and self.state == HEAD and self.idle_since < before:
            self._drop_from_pool()
            self.close()

    def abandon(self) -> None:
        """The client left or the exchange failed: whatever the app still sends is of no use."""
        self.client = None
        self.state = OVER
        self.transport.abort()

    # Answers

    def data_received(self, data: bytes) -> None:
        client = self.client
        if self.state or client is None:
            self._more(data)
            return
        if self._partial:
            data = self._partial + data
            self._partial = b""
        cut = data.find(HEAD_END) + 2
        head = data[:cut]
        if head == self._memo_key and head:
            answer = self._memo
            assert answer is not None
        else:
            parsed = self._read(head, data)
            if parsed is None:
                return
            answer = parsed
        body = data[cut + 2 :]
        if answer.whole and client.plain and len(body) == answer.length:
            client.write((answer.out, b"X-Request-Id: ", client.request_id, HEAD_END, body))
            self._done(client, answer)
            return
        self._begin(client, answer, body)

    def _read(self, head: bytes, data: bytes) -> Answer | None:
        if not head or len(head) < 2:
            if len(data) > HEAD_LIMIT:
                self._broken(f"its head is longer than {HEAD_LIMIT} bytes")
            else:
                self._partial = data
            return None
        try:
            answer = framing.read_answer(head)
        except BadAnswer as error:
            self._broken(str(error))
            return None
        self._memo_key, self._memo = head, answer
        return answer

    def _more(self, data: bytes) -> None:
        client = self.client
        if client is None:
            # Bytes on a pooled connection answer no question.
            self._drop_from_pool()
            self.abandon()
        elif self.state == TUNNEL:
            client.write((data,))
        elif self.state == LENGTH:
            self._by_length(client, data)
        elif self.state == CHUNKS:
            self._by_chunks(client, data)
        elif self.state == UNTIL_CLOSE:
            client.write((data,))

    def _begin(self, client: Client, answer: Answer, rest: bytes) -> None:
        if answer.status < 200:
            self._interim(client, answer, rest)
            return
        self._answer = answer
        bodiless = client.method == b"HEAD" or answer.status in _NO_BODY
        until_close = not bodiless and not answer.chunked and answer.length is None
        head = client.head_of(answer, until_close=until_close, bodiless=bodiless)
        if answer.event_stream:
            self.task.streams += 1
            client.stream = True
            self._gateway.activity.left(self.task)
        if bodiless:
            client.write((head,))
            self._finish(client, rest)
        elif answer.chunked:
            self.state, self._chunks = CHUNKS, ChunkReader()
            self._by_chunks(client, rest, head)
        elif answer.length is not None:
            self.state, self._left = LENGTH, answer.length
            self._by_length(client, rest, head)
        else:
            self.state = UNTIL_CLOSE
            client.write((head, rest))

    def _interim(self, client: Client, answer: Answer, rest: bytes) -> None:
        if answer.status == 101:
            if not client.block.websocket or answer.upgrade.lower() != b"websocket":
                self._broken("it switches to a protocol nobody asked for")
                return
            self.state = TUNNEL
            self.task.streams += 1
            client.open_tunnel(answer, rest)
            self._gateway.activity.left(self.task)
            return
        if not client.block.http10 and (answer.status != 100 or client.block.expects):
            client.write((answer.out, b"\r\n"))
        if rest:
            self.data_received(rest)

    def _by_length(self, client: Client, data: bytes, head: bytes = b"") -> None:
        body = data[: self._left]
        self._left -= len(body)
        if head or body:
            client.write((head, body))
        if not self._left:
            self._finish(client, data[len(body) :])

    def _by_chunks(self, client: Client, data: bytes, head: bytes = b"") -> None:
        reader = self._chunks
        assert reader is not None
        try:
            body = reader.feed(data)
        except BadChunk as error:
            if head:
                # Nothing of it is out yet, so the client can still be told.
                self._answer = None
            self._broken(str(error))
            return
        if client.block.http10:
            client.write((head, body))
        else:
            client.write((head, chunk(body), last_chunk(reader.trailers) if reader.done else b""))
        if reader.done:
            self._finish(client, reader.rest)

    def _finish(self, client: Client, rest: bytes) -> None:
        answer = self._answer
        assert answer is not None
        self._done(client, answer, reusable=not rest and answer.keep_alive and not client.unread)

    def _done(self, client: Client, answer: Answer, *, reusable: bool = True) -> None:
        """The answer is out: back to the pool, then the client may go on."""
        self.client = self._answer = self._chunks = None
        task = self.task
        if reusable:
            self.state = HEAD
            self.reused = True
            if self.paused:
                self.resume_reading()
            if task.open and len(task.idle) < MOST_IDLE and not self.transport.is_closing():
                self.idle_since = self._gateway.now
                task.idle.append(self)
            else:
                self.close()
        else:
            self.close()
        client.finished(task, answer.status // 100)

    # The pool

    def _pool(self) -> None:
        task = self.task
        if task.open and len(task.idle) < MOST_IDLE:
            self.idle_since = self._gateway.now
            task.idle.append(self)
            self._gateway.hold.pump(task.deployment)
        else:
            self.close()

    def _drop_from_pool(self) -> None:
        if self in self.task.idle:
            self.task.idle.remove(self)

    # Ends

    def _ended(self, exc: Exception | None) -> None:
        """The app closed the connection, or it broke."""
        state, self.state = self.state, OVER
        client = self.client
        if client is None:
            if state == HEAD:
                self._drop_from_pool()
            return
        self.client = None
        if state == HEAD:
            unread = self.reused or isinstance(exc, _UNREAD)
            client.upstream_closed(repeatable=unread and not self._partial)
        elif state == TUNNEL:
            client.tunnel_ended()
        elif state == UNTIL_CLOSE and exc is None:
            assert self._answer is not None
            client.finished(self.task, self._answer.status // 100)
        else:
            client.cut(self._answer.status // 100 if self._answer else 5)

    def _broken(self, why: str) -> None:
        """The app does not speak HTTP: a 502 while that can still be said, else the client is cut off."""
        client = self.client
        assert client is not None
        answer = self._answer
        self.abandon()
        if answer is None:
            client.upstream_broken(why)
        else:
            client.cut(answer.status // 100)
