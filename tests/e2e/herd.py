"""Many requests at once through the gateway, each on a connection of its own and timed by the client.

Used by end-to-end tests; `herd` runs a loop of its own, so a test stays plain code.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 60.0


@dataclass(frozen=True)
class Timed:
    """An answer; `began` and `ended` are of the monotonic clock. Status 0: the connection ended without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def text(self) -> str:
        return self.body.decode()


async def fetch(
    url: str, host: str, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str
) -> Timed:
    """One request to `host` at the gateway `url`; `headers` by name with `_` for `-`."""
    at = urlsplit(url)
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(at.hostname, at.port, limit=1 << 20)
    try:
        sent = {"Host": host, "Connection": "close"} | {k.replace("_", "-"): v for k, v in headers.items()}
        if body is not None:
            sent["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
        if body:
            writer.write(body)
        async with asyncio.timeout(PATIENCE):
            return await _answer(reader, began)
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader, began: float) -> Timed:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = headers.get("content-length")
        body = await (reader.read() if length is None else reader.readexactly(int(length)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return Timed(0, {}, b"", began, time.monotonic())
    return Timed(int(head[0].split()[1]), headers, body, began, time.monotonic())


def herd(url: str, host: str, count: int, path: str | Callable[[int], str] = "/") -> list[Timed]:
    """`count` GETs at once."""
    paths = [path(number) if callable(path) else path for number in range(count)]
    return together(*(fetch(url, host, each) for each in paths))


def together(*calls: Coroutine[Any, Any, Timed]) -> list[Timed]:
    """All of `calls` at once."""

    async def run() -> list[Timed]:
        return list(await asyncio.gather(*calls))

    return asyncio.run(run())


def percentile(answers: Sequence[Timed], share: float) -> float:
    """The seconds within which `share` of the answers came."""
    ordered = sorted(answer.seconds for answer in answers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def starts(count_file: Any) -> int:
    """How often a program that appends to `count_file` has been started."""
    return count_file.read_text().count("start") if count_file.exists() else 0
