"""Orders, imperative: what a caller asks of a deployment or a task. A machine may refuse one with an error.

Pure. Sent by handlers and by the gateway (Wake) to deployments, by deployments to their tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from platformd.domain.requests import RequestKey
from platformd.domain.snapshot import Reason
from platformd.domain.spec import CpuPolicy, ProcessType, Volume


@dataclass(frozen=True, slots=True)
class ResourcesChange:
    """What of `spec.Resources` is to be another; None stays."""

    cpu: str | None = None
    memory: str | None = None
    cpu_policy: CpuPolicy | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Want another specification in place: what is None stays as it is, `replicas` of 0 puts it to sleep. What tasks
    are made by is rolled out one task at a time."""

    replicas: int | None = None
    resources: ResourcesChange | None = None
    image: str | None = None
    process_type: ProcessType | None = None
    volumes: tuple[Volume, ...] | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """Replace every task, one at a time, by one of the same specification."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """End it for good."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Be awake; `by_traffic` when requests are being held for it, `waited` for how long its task has been on the way
    already (see `platformd.drivers.arms`)."""

    by_traffic: bool = False
    waited: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class KeepAwake:
    """Stay awake for so long at least; 0 ends what was promised so far."""

    for_secs: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """End its tasks until traffic or a caller wakes it."""


@dataclass(frozen=True, slots=True)
class Launch:
    """To a task: start."""


@dataclass(frozen=True, slots=True)
class Stop:
    """To a task: end. `drain` is how long requests in flight may take (zero when the gateway has closed it already);
    `grace` overrides the specification's."""

    reason: Reason
    drain: timedelta = timedelta(0)
    grace: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Freeze:
    """To a task: stand still, once requests in flight have ended or `drain` is over."""

    drain: timedelta


@dataclass(frozen=True, slots=True)
class Thaw:
    """To a task: go on from where it stands. It answers by saying how far it is, whatever that is."""


@dataclass(frozen=True, slots=True)
class Terminate:
    """To a task, by a caller: end well. Its deployment starts another one if it still wants it."""


@dataclass(frozen=True, slots=True)
class Recount:
    """To a task, by its deployment made anew: say again how far you are."""


@dataclass(frozen=True, slots=True)
class IfRevision:
    """Do `command` only while the deployment is at `revision`; else PreconditionFailed REVISION_MISMATCH."""

    command: DeploymentCommand
    revision: int


@dataclass(frozen=True, slots=True)
class ForRequest:
    """Do `command`, and keep with what it changes that this was done under `key`."""

    command: DeploymentCommand | IfRevision
    key: RequestKey


DeploymentCommand = Change | Restart | Cancel | Wake | KeepAwake | Sleep
TaskCommand = Launch | Stop | Freeze | Thaw | Terminate | Recount
