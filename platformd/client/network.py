"""What the client needs of the outside: connections, pauses, and threads for what blocks.

Everything above is written once, with `async`. `platformd.client.blocking` and `platformd.client.looping` are the two
networks: in the first nothing ever suspends, so that calls run to their end where they are made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

BLOCK = 256 << 10


@dataclass(frozen=True, slots=True)
class Place:
    host: str
    port: int
    tls: bool


class Wire(Protocol):
    """One connection. Each wait is bounded: TimeoutError; OSError when it breaks."""

    async def send(self, data: bytes) -> None:
        """Returns once more may be sent."""

    async def receive(self) -> bytes:
        """What came, at least one byte; empty at the end."""

    def heard(self) -> bool:
        """True when `receive` has something already, as far as can be told."""

    def close(self) -> None:
        """At once."""


class Network(Protocol):
    async def connect(self, place: Place, within: float) -> Wire:
        """`within` (s) bounds this and each later wait."""

    async def pause(self, seconds: float) -> None:
        """Nothing, for so long."""

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        """What reads a disk or counts for long."""
