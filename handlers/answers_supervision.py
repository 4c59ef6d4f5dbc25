"""What the answers to supervisor tooling look like; see `handlers.answers`. Pure."""

from __future__ import annotations

from typing import Any, Literal

from handlers.answers import Answer, Instant, Page
from handlers.words import Id


class Mailbox(Answer):
    """How many messages wait."""

    facts: int
    commands: int


class Failure(Answer):
    """The last time it raised; `message` is the type of what it was working on."""

    at: Instant
    error: str
    message: str | None


class Actor(Answer):
    """`about` is what it says of itself, `parent` the key of a task's deployment."""

    key: str
    kind: Literal["deployment", "task"]
    id: Id
    parent: str | None
    state: Literal["idle", "ready", "running", "parked", "waiting", "quarantined", "closed", "dormant"]
    quarantined: bool
    mailbox: Mailbox
    restarts: int
    last_failure: Failure | None
    parked_since: Instant | None
    about: dict[str, Any]


class Actors(Page[Actor]):
    """One page of the actors."""


class DeadLetter(Answer):
    """`message` is its type, `content` its fields."""

    number: int
    key: str
    message: str
    content: Any
    reason: Literal["failed", "quarantined"]
    error: str
    traceback: str
    at: Instant


class DeadLetters(Page[DeadLetter]):
    """One page of the dead letters."""


class Memory(Answer):
    """In bytes."""

    total: int
    available: int


class Capability(Answer):
    """Something that the machine has or lacks."""

    available: bool
    detail: str


class Node(Answer):
    """A machine; `load` is over 1, 5 and 15 minutes."""

    id: str
    hostname: str
    platformd: str
    kernel: str
    architecture: str
    cpus: int
    load: list[float]
    memory: Memory
    capabilities: dict[str, Capability]


class Nodes(Answer):
    data: list[Node]
