"""What actors act upon: the collaborators `platformd.app` puts together, and crash points for tests.

Made once, shared by all actors, read on pool threads.
"""

from __future__ import annotations

import builtins
import os
import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from actors.directory import Directory
from actors.timers import Timers
from platformd.domain.spec import ProcessType
from platformd.drivers.base import Driver
from platformd.secrets import Vault
from platformd.store import Store

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

    from platformd.domain.deployment.routing import Routing
    from platformd.domain.deployment.state import Deployment
    from platformd.domain.effects import FailHeld
    from platformd.domain.spec import DeploymentSpec
    from platformd.drivers.base import LaunchOrder

CRASH_VARIABLE = "PLATFORMD_CRASH_AT"
FAULT_VARIABLE = "PLATFORMD_FAULT_AT"
_crash_at = os.environ.get(CRASH_VARIABLE, "")
_fault_at = os.environ.get(FAULT_VARIABLE, "").split()


class Traffic(Protocol):
    """What deployments and tasks say to the gateway; see `actors.traffic`."""

    def route(self, deployment_id: str, before: Routing | None, after: Routing) -> None: ...
    def fail_held(self, deployment_id: str, failure: FailHeld) -> None: ...
    def close_idle(self, deployment_id: str, task_ids: tuple[str, ...], since: datetime) -> None: ...
    def publish_hosts(self, app_id: str) -> None: ...
    def forget_hosts(self, hostnames: Collection[str]) -> None: ...
    def forget_deployments(self, ids: Collection[str]) -> None: ...
    def close(self, deployment_id: str, task_id: str, drain: timedelta, for_good: bool) -> None: ...


class Arms(Protocol):
    """Who makes wakes ready ahead; see `platformd.drivers.arms`."""

    def suits(self, spec: DeploymentSpec, /) -> bool: ...
    def arm(self, order: LaunchOrder, /) -> None: ...
    def of(self, deployment_id: str, /) -> LaunchOrder | None: ...
    def disarm(self, deployment_id: str, /) -> None: ...


class NoArms:
    """Nothing is made ready ahead."""

    def suits(self, _spec: DeploymentSpec, /) -> bool:
        return False

    def arm(self, _order: LaunchOrder, /) -> None:
        return

    def of(self, _deployment_id: str, /) -> LaunchOrder | None:
        return None

    def disarm(self, _deployment_id: str, /) -> None:
        return


class Looker(Protocol):
    """Who finds out whether keep_awake rules are met, and tells the deployment; see `actors.busy`."""

    def look(self, deployment: Deployment) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """`executable` finds an artifact's file by its id; `write_line` takes (deployment id, task id or None, text) for
    the deployment's log; `vault` opens secrets for a task's launch. An environment keeps its newest `keep_versions`
    superseded versions."""

    directory: Directory
    timers: Timers
    store: Store
    traffic: Traffic
    busy: Looker
    drivers: Mapping[ProcessType, Driver]
    executable: Callable[[str], Path | None]
    write_line: Callable[[str, str | None, str], None]
    vault: Vault
    keep_versions: int = 10
    arms: Arms = field(default_factory=NoArms)


def crash_point(name: str) -> None:
    """Die here as by kill -9 when the environment asks for it; names are `before:<Effect>` and `after:<Effect>`;
    `before:<Operation>` is when a request's write is still to be asked for, `after:<Operation>` when it is durable and
    the answer not sent."""
    if _crash_at and _crash_at == name:
        os.kill(os.getpid(), signal.SIGKILL)


def fault_point(name: str, app_name: str) -> None:
    """Raise here when the environment asks for it by "<Effect> <exception> <app>", as in "StartTask SystemExit shop".

    So tests poison one deployment of a whole server."""
    if _fault_at and _fault_at[0] == name and _fault_at[2] == app_name:
        raise getattr(builtins, _fault_at[1])("injected")
