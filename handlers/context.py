"""What the handlers need from the rest of the service, and nothing more: the composition root fills it in.

Handlers know neither the store nor a driver: creations go through `writes`, orders through `ask`, reads through the
views. Everything here is called on the loop's thread and none of it blocks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from platformd import metrics
from platformd.artifacts import ArtifactFiles, SentTrees
from platformd.build_views import BuildViews
from platformd.config import Settings
from platformd.configuration_views import ConfigurationViews
from platformd.domain.build.orders import Wanted
from platformd.domain.build.state import Build
from platformd.domain.deliveries import Received
from platformd.domain.deployment.state import Deployment
from platformd.domain.operations import Operation
from platformd.domain.requests import RequestKey
from platformd.domain.retries import KeptRequest
from platformd.domain.snapshot import App, Artifact, Reason
from platformd.domain.spec import DeploymentSpec
from platformd.domain.variables import Precedence
from platformd.domain.webhook import Delivery
from platformd.hub import Hub
from platformd.logstore import LogStore
from platformd.secrets import Vault
from platformd.token_views import TokenViews
from platformd.views import Views
from platformd.webhook_views import WebhookViews

T = TypeVar("T")


class Writes(Protocol):
    """The creations, which have no actor yet. Each answer is durable; each raises PlatformErrors."""

    def under(self, key: RequestKey | None) -> Writes:
        """The same for a request with this key: what was made under it before is the result."""

    async def create_app(
        self, *, name: str, namespace: str, description: str | None, labels: Mapping[str, str]
    ) -> App:
        """An app with its two environments and their addresses."""

    async def create_artifact(self, *, name: str, content_type: str) -> Artifact:
        """An announced artifact without bytes."""

    async def complete_artifact(self, artifact_id: str, *, sha256: str, size: int) -> Artifact:
        """Its bytes are on disk; Conflict when it has some already."""

    async def create_deployment(
        self,
        *,
        app_id: str,
        environment: str,
        spec: DeploymentSpec,
        precedence: Precedence = Precedence.DEPLOYMENT,
        promoted_from: str | None = None,
        build: Build | None = None,
    ) -> Deployment:
        """The next version of the app, of what `build` made if that is given; its actor has been told."""

    async def roll_back(self, *, app_id: str, environment: str) -> Deployment:
        """As `create_deployment`, of the last good one; see `operations.RollBack`."""


class Configuration(Protocol):
    """Changes of what belongs to an app beside its deployments. Each answer is durable; each raises PlatformErrors."""

    def under(self, key: RequestKey | None) -> Configuration:
        """The same for a request with this key: what was changed under it before is not changed again."""

    async def commit(self, operation: Operation[T]) -> T:
        """The operation's result."""

    async def commit_hosts(
        self, operation: Operation[T], app_id: str, gone: Callable[[T], Collection[str]] = ...
    ) -> T:
        """As `commit`, and the gateway hears of the app's addresses and of those that are `gone`."""


class Removals(Protocol):
    async def remove(self, app_id: str, at: datetime, revision: int | None) -> bool:
        """True once nothing of the app is left, False when that takes longer than a request should wait."""


class Builds(Protocol):
    """Asking for builds; see `actors.build_requests`."""

    def under(self, key: RequestKey | None) -> Builds:
        """The same, each of which happens once under the key."""

    async def request(self, wanted: Wanted) -> Build:
        """The build, queued; those that it supersedes are cancelled. NotFound, Conflict SOURCE_NOT_CONFIGURED."""

    async def rebuild(self, source: Deployment, environment: str) -> Deployment:
        """A deployment there that waits for a new build of the source's commit; Conflict NO_COMMIT."""

    def last_good(self, app_id: str, ref: str) -> Build | None:
        """The newest that succeeded of a branch, tag or commit."""


class Hooks(Protocol):
    async def accept(
        self, delivery: Delivery, specs: Mapping[str, DeploymentSpec | Reason]
    ) -> Sequence[Received]:
        """What came of `delivery` in each app of `specs`, which says what to deploy there or why that cannot be. Stored
        together with the builds it asks for."""


class Supervision(Protocol):
    """What tooling sees of the actors, and does to them. Objects are the API's own."""

    def actors(
        self, *, offset: int, limit: int, kind: str | None, state: str | None, app_id: str | None
    ) -> tuple[list[dict[str, Any]], int]:
        """A page and the total; reads rows, so it runs on a thread."""

    def actor(self, key: str) -> dict[str, Any]: ...
    def app_of(self, key: str) -> str: ...
    def restart(self, key: str) -> dict[str, Any]: ...
    def resume(self, key: str) -> dict[str, Any]: ...
    def dead_letters(self, offset: int, limit: int) -> tuple[list[dict[str, Any]], int]: ...


class Usages(Protocol):
    """What tasks used. Objects are the API's own; none is unknown, what was not measured has no samples."""

    def awake(self, app_id: str | None) -> dict[str, Any]: ...
    def of_deployment(self, id: str) -> dict[str, Any]: ...
    def of_task(self, id: str) -> dict[str, Any]: ...


async def _no_system_line(deployment_id: str, message: str) -> None:
    """For a service that keeps no lines of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What each does:

    - `configured` are the views of what `configuration` changes; `vault` seals secrets before they are stored;
    - `webhooks` knows who may send webhooks and what they sent, `hooks` acts on them;
    - `ask(kind, id, command)` is answered by that actor after its commit;
    - `deployment(id)` is its newest snapshot, None when there is none;
    - `ready()` is {"ready": bool, "status": "ok" | "degraded" | "unready", "checks": {name: {"status", "detail"?}}};
    - `answered(key id)` is what is known of a request with that key;
    - `tokens` finds and shows tokens; `write_behind` stores what nobody waits for;
    - `say(deployment id, message)` writes a `system` line into its log; `recovering()` refuses writes;
    - `supervision` shows and restarts actors, `usage` tells what tasks used;
    - `node()` describes this machine and may read files;
    - `metrics()` is what Prometheus is told; it reads rows, so it runs on a thread;
    - `built` are the views of sources and of what `builds` makes;
    - `trees` are those that were sent for builds;
    - `longest_upload` is in bytes, of an artifact; a trigger waits `trigger_secs` for its build.
    """

    settings: Settings
    views: Views
    configured: ConfigurationViews
    hub: Hub
    logs: LogStore
    artifacts: ArtifactFiles
    trees: SentTrees
    writes: Writes
    configuration: Configuration
    removals: Removals
    builds: Builds
    built: BuildViews
    webhooks: WebhookViews
    hooks: Hooks
    vault: Vault
    tokens: TokenViews
    write_behind: Callable[[Operation[None]], object]
    supervision: Supervision
    answered: Callable[[str], KeptRequest | None]
    usage: Usages
    ask: Callable[[str, str, object], Awaitable[Any]]
    node: Callable[[], Mapping[str, Any]]
    deployment: Callable[[str], Deployment | None]
    ready: Callable[[], Mapping[str, Any]]
    version: str
    say: Callable[[str, str], Awaitable[None]] = _no_system_line
    recovering: Callable[[], bool] = lambda: False
    metrics: Callable[[], bytes] = metrics.exposition
    longest_upload: int = 1 << 30
    trigger_secs: float = 300.0
