"""What came from GitHub, as it is kept for each app, and the operations on that. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from platformd.domain.build.orders import Delivered
from platformd.domain.operations import Operation
from platformd.domain.snapshot import Reason
from platformd.domain.spec import DeploymentSpec
from platformd.domain.webhook import Delivery, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One delivery as one app sees it. `known` tells that it was accepted before; then nothing happened this time.
    `commit_sha` and `ref` are what was told, whatever is built in the end."""

    id: str
    app_id: str
    guid: str
    event: str
    action: str | None = None
    ref: str | None = None
    commit_sha: str | None = None
    outcome: Outcome
    reason: Reason | None = None
    environment: str | None = None
    build_id: str | None = None
    received_at: datetime
    known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """`builds` are the new ones."""

    received: tuple[Received, ...]
    builds: tuple[Delivered, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptDelivery(Operation[Accepted]):
    """Keep what came for each of `app_ids`, decide, and ask for the builds, all in one piece: what was answered is done
    whatever happens to the server. An app without a source by now is left out.

    `specs` is what each app deploys, or why it cannot. An environment for a pull request is made with the plain
    variables of development and an address under `domain`. What one app cannot do is kept as its reason and troubles no
    other.
    """

    app_ids: tuple[str, ...]
    delivery: Delivery
    domain: str
    build_timeout_secs: float
    specs: Mapping[str, DeploymentSpec | Reason] = field(default_factory=dict)
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishPreview(Operation[tuple[str, ...] | None]):
    """Remove the environment of a pull request that was closed: the hostnames that lead nowhere now. None when that is
    not to be done any more, because it was opened again or removed by somebody. Conflict ENVIRONMENT_IN_USE while
    something in it has not ended."""

    delivery_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetDeliveries(Operation[int]):
    """Drop at most `most` of those from before `before`, and as many of what was told to GitHub: how many there were.
    What is still to be done for one stays."""

    before: datetime
    most: int
