"""Orders of the machines to the shell, and the moment a step happens at.

Pure values, carried out by `actors.interpreter`. Each effect's class name is also the name of two crash points, one
before and one after it is carried out (`PLATFORMD_CRASH_AT=before:StartTask`), by which tests kill the service between
any two effects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from platformd.domain.events import DeploymentFact
from platformd.domain.snapshot import Reason


@dataclass(frozen=True, slots=True)
class Moment:
    """What a step may know of the world: the steady instant, a jitter in [-1, 1] and a source of ids."""

    at: datetime
    jitter: float
    new_id: Callable[[], str]


# ---- of a deployment ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartTask:
    """Bring a new task to life in `slot`."""

    task_id: str
    slot: int
    generation: int
    restarts: int


@dataclass(frozen=True, slots=True)
class StopTask:
    """End a task; see `commands.Stop`."""

    task_id: str
    reason: Reason
    drain: timedelta
    grace: timedelta | None = None


@dataclass(frozen=True, slots=True)
class AskTask:
    """Have it say again how far it is; see `commands.Recount`."""

    task_id: str


@dataclass(frozen=True, slots=True)
class CloseIdle:
    """Ask the gateway to send it nothing more if nothing happened after `since`."""

    since: datetime
    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailHeld:
    """Answer every request that is held for it."""

    status: int
    code: str
    detail: str
    retry_at: datetime | None = None
    phase: str | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class ClaimCurrent:
    """Lead its environment's address here unless a newer version has it."""


@dataclass(frozen=True, slots=True)
class ReleaseCurrent:
    """Its environment's address leads nowhere from now on."""


@dataclass(frozen=True, slots=True)
class AskForPort:
    """A fixed native port is held; an older deployment of the same app and environment should yield it."""

    port: int


@dataclass(frozen=True, slots=True)
class ReturnPort:
    """This deployment ended without taking over; whoever yielded its port may start again."""


@dataclass(frozen=True, slots=True)
class AskForReturn:
    """It yielded its port to `by` and is wanted: has that one ended meanwhile?"""

    by: str


@dataclass(frozen=True, slots=True)
class SystemLine:
    """A line for people in the deployment's log."""

    text: str
    task_id: str | None = None


# ---- of a task ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LaunchTask:
    """Have the driver start it."""


@dataclass(frozen=True, slots=True)
class CloseInGateway:
    """Out of balance at once; `Closed` when what is in flight has ended or `drain` is over."""

    drain: timedelta


@dataclass(frozen=True, slots=True)
class Signal:
    """Send the signal to every process of the task."""

    signal: str


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL everything of the task until nothing is left."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """End what the ended process left behind."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Give back everything the task had."""


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the deployment."""

    fact: DeploymentFact


DeploymentEffect = (
    StartTask
    | StopTask
    | AskTask
    | CloseIdle
    | FailHeld
    | ClaimCurrent
    | ReleaseCurrent
    | AskForPort
    | ReturnPort
    | AskForReturn
    | SystemLine
)
TaskEffect = LaunchTask | CloseInGateway | Signal | Kill | Sweep | Forget | Report
