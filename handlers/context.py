"""What the handlers need from the rest of the service, and nothing more: the composition root fills it in.

Handlers know neither the store nor a driver: creations go through `commit`, orders through `ask`, facts through
`tell`, reads through the views. Everything here is called on the loop's thread and none of it blocks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from platformd.artifacts import ArtifactFiles
from platformd.config import Settings
from platformd.domain.deployment.state import Deployment
from platformd.domain.notice import Notice
from platformd.domain.operations import Operation
from platformd.hub import Hub
from platformd.logstore import LogStore
from platformd.views import Views

T = TypeVar("T")


class Commit(Protocol):
    """The store's way in."""

    def __call__(
        self, operation: Operation[T], notices: Callable[[T], Sequence[Notice]] | None = None
    ) -> Future[T]:
        """Durable when done; raises PlatformErrors."""


def _no_system_line(deployment_id: str, message: str) -> None:
    """For a service that keeps no lines of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What each does:

    - `ask(kind, id, command)` is answered by that actor after its commit, `tell(kind, id, fact)` by nobody;
    - `deployment(id)` is its newest snapshot;
    - `ready()` is {"ready": bool, "status": "ok" | "degraded" | "unready", "checks": {name: {"status", "detail"?}}};
    - `say(deployment id, message)` writes a `system` line into its log; `recovering()` refuses writes;
    - `longest_upload` is in bytes.
    """

    settings: Settings
    views: Views
    hub: Hub
    logs: LogStore
    artifacts: ArtifactFiles
    commit: Commit
    ask: Callable[[str, str, object], Awaitable[Any]]
    tell: Callable[[str, str, object], None]
    deployment: Callable[[str], Deployment | None]
    ready: Callable[[], Mapping[str, Any]]
    version: str
    say: Callable[[str, str], None] = _no_system_line
    recovering: Callable[[], bool] = lambda: False
    longest_upload: int = 1 << 30
