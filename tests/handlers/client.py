"""A small HTTP client for tests of the API: shows exactly what came, may send what a good client would not."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.handlers.declared import hold

PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` by lower-case name; of a repeated one the last."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def pointers(self) -> list[str]:
        """Where a problem found faults."""
        return [fault["pointer"] for fault in self.json.get("errors", [])]

    def problem(self, status: int, code: str) -> Any:
        """Asserts that this is a well-formed problem of that kind; its document."""
        document = self.json
        assert (self.status, document["code"]) == (status, code), (self.status, document)
        assert_problem(self)
        return document


def assert_problem(answer: Answer) -> None:
    """Every error of the API has this form."""
    document = answer.json
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "request_id"} <= document.keys()
    assert document["status"] == answer.status
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+", document["code"])
    if "idempotency-replayed" not in answer.headers:
        assert document["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.body.decode()
    if answer.status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1


class Connection:
    """One connection, kept alive between calls."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(PATIENCE):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        lines = raw.decode("latin1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def answer(self, method: str = "GET") -> Answer:
        """The next response, whole."""
        status, headers = await self.head()
        bodiless = method == "HEAD" or status in (204, 304) or status < 200
        body = b"" if bodiless else await self._body(headers)
        return Answer(status, headers, body)

    async def _body(self, headers: dict[str, str]) -> bytes:
        async with asyncio.timeout(PATIENCE):
            if headers.get("transfer-encoding") == "chunked":
                return b"".join([chunk async for chunk in self.chunks()])
            if "content-length" in headers:
                return await self.reader.readexactly(int(headers["content-length"]))
            return await self.reader.read()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of a chunked body until its end."""
        while size := int((await self.reader.readline()).split(b";")[0] or b"0", 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readline()


class Client:
    """Calls one server; `call` checks that errors are well-formed problems and that answers are as declared."""

    def __init__(self, port: int) -> None:
        self.port = port

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        try:
            yield Connection(reader, writer)
        finally:
            writer.transport.abort()

    async def call(
        self,
        method: str,
        path: str,
        json_body: Any = None,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        async with self.connected() as connection:
            await connection.send(self.request(method, path, json_body, body=body, headers=headers))
            answer = await connection.answer(method)
        if answer.status >= 400 and answer.body:
            assert_problem(answer)
        hold(method, path, answer.status, answer.headers.get("content-type", ""), answer.body)
        return answer

    def request(
        self,
        method: str,
        path: str,
        json_body: Any = None,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        """The bytes of a request."""
        sent = {"Host": f"127.0.0.1:{self.port}"}
        if json_body is not None:
            body = json.dumps(json_body).encode()
            sent["Content-Type"] = "application/json"
        if body is not None:
            sent["Content-Length"] = str(len(body))
        sent |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin1") + (body or b"")

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, headers={_dashed(name): value for name, value in headers.items()})

    async def post(self, path: str, json_body: Any = None, **headers: str) -> Answer:
        sent = {_dashed(name): value for name, value in headers.items()}
        return await self.call("POST", path, json_body, headers=sent)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; comments are events named ":"."""

    name: str | None
    id: int | None
    data: Any


class EventSource:
    """Reads events as a browser would."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._chunks = connection.chunks()
        self._buffer = b""

    async def next(self, patience: float = PATIENCE) -> Event:
        """The next event that is no comment; EOFError at the end."""
        while True:
            event = await self.any(patience)
            if event.name != ":":
                return event

    async def any(self, patience: float = PATIENCE) -> Event:
        """The next event or comment."""
        async with asyncio.timeout(patience):
            while b"\n\n" not in self._buffer:
                chunk = await anext(self._chunks, None)
                if chunk is None:
                    raise EOFError
                self._buffer += chunk
        block, _, self._buffer = self._buffer.partition(b"\n\n")
        return _event(block.decode())

    async def messages(self, count: int) -> list[Event]:
        """The next `count` unnamed events, which is all that `onmessage` sees."""
        found: list[Event] = []
        while len(found) < count:
            event = await self.next()
            if event.name is None and event.data is not None:
                found.append(event)
        return found


def _event(block: str) -> Event:
    if block.startswith((":", "retry:")):
        return Event(":", None, block)
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    id = int(fields["id"]) if "id" in fields else None
    return Event(fields.get("event"), id, json.loads(fields["data"]))
