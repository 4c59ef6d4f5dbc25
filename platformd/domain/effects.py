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
    """What a step may know of the world: the steady instant, a jitter in [-1, 1], and the id that the next task in a
    slot is to have."""

    at: datetime
    jitter: float
    next_id: Callable[[int], str]


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
class FreezeTask:
    """Have a ready task stand still; see `commands.Freeze`."""

    task_id: str
    drain: timedelta


@dataclass(frozen=True, slots=True)
class ThawTask:
    """Have it go on; it answers with TaskReady."""

    task_id: str


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
class LookBusy:
    """See whether a keep_awake rule of its is met."""


@dataclass(frozen=True, slots=True)
class RouteAgain:
    """Tell the gateway once more who is ready: it took tasks out of the balance that are to stay in it."""


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
class AbandonBuilds:
    """Nobody waits any more for what is being built for it."""


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
    """Out of balance at once; `Closed` when what is in flight has ended or `drain` is over. Not `for_good` when it may
    be told of again."""

    drain: timedelta
    for_good: bool = True


@dataclass(frozen=True, slots=True)
class Freeze:
    """Have the driver make it stand still."""


@dataclass(frozen=True, slots=True)
class Thaw:
    """Have the driver let it go on."""


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
    | FreezeTask
    | ThawTask
    | AskTask
    | CloseIdle
    | LookBusy
    | RouteAgain
    | FailHeld
    | ClaimCurrent
    | ReleaseCurrent
    | AskForPort
    | ReturnPort
    | AskForReturn
    | AbandonBuilds
    | SystemLine
)
TaskEffect = LaunchTask | CloseInGateway | Freeze | Thaw | Signal | Kill | Sweep | Forget | Report
