"""Facts, past tense: what happened to a deployment or a task. Both machines take them; nothing can refuse one.

Pure. Task facts come from drivers and timers, deployment facts from its tasks, the gateway, the store and timers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from platformd.domain.snapshot import Commit, Exit, Reason
from platformd.domain.spec import ProcessType

# ---- facts about a task, told by its driver ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launched:
    """The process or container runs; `handle` finds it again, `address` is where it is going to listen."""

    handle: Mapping[str, object]
    at: datetime
    pid: int | None = None
    container_id: str | None = None
    address: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class ImageWanted:
    """Its image is not there yet and is being pulled."""

    image: str


@dataclass(frozen=True, slots=True)
class ImageFound:
    """Its image is there; `digest` is what it is from now on."""

    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class LaunchWaits:
    """It cannot start now but may later (a port in use, no port left); `reason` says who or what is in the way."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """It cannot start; final for this task."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Probed:
    """The task's own listener answered for the first time: it can take requests."""

    address: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class HealthMissed:
    """Three probes in a row failed: out of balance."""


@dataclass(frozen=True, slots=True)
class HealthRestored:
    """A probe answered again."""


@dataclass(frozen=True, slots=True)
class HealthLost:
    """Unhealthy for 60 s: to be replaced."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Frozen:
    """Every process of it stands still."""


@dataclass(frozen=True, slots=True)
class FreezeFailed:
    """It cannot be made to stand still."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Thawed:
    """It was believed to stand still and is found running."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The main process ended; what it started may still live."""

    exit: Exit


@dataclass(frozen=True, slots=True)
class Swept:
    """Nothing of the task lives any more."""


# ---- facts about a task, told by timers and the gateway ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Closed:
    """The gateway sends it nothing any more and what was in flight has ended."""


@dataclass(frozen=True, slots=True)
class TimerElapsed:
    """A timer fired; which deadlines have really passed is for the machine to say."""


# ---- facts about a deployment ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Created:
    """Its row is durable."""


@dataclass(frozen=True, slots=True)
class TaskReady:
    task_id: str
    address: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class TaskPulling:
    """The task's image is being pulled."""

    task_id: str


@dataclass(frozen=True, slots=True)
class ImagePinned:
    """The task's image is there, and `digest` is what `image` means for this deployment from now on."""

    task_id: str
    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class TaskUnready:
    """Out of balance until it is ready again."""

    task_id: str


@dataclass(frozen=True, slots=True)
class TaskFrozen:
    """It stands still and takes no requests."""

    task_id: str


@dataclass(frozen=True, slots=True)
class TaskStopping:
    """Out of balance for good: it is being ended because of `reason`; `asked` when somebody had asked for that."""

    task_id: str
    reason: Reason
    asked: bool = False


@dataclass(frozen=True, slots=True)
class TaskWaiting:
    """The task cannot start yet."""

    task_id: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class TaskExited:
    """The task's process is gone. `asked` when somebody had asked it to stop; `reason` is why it was ended or never
    began, None when it ended by itself."""

    task_id: str
    exit: Exit
    asked: bool = False
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """Nothing of the task is left."""

    task_id: str


@dataclass(frozen=True, slots=True)
class TaskFound:
    """A task of this deployment that a restarted service knows of, by its row or by the keeper's record; `stopping`
    when its end had begun."""

    task_id: str
    slot: int
    generation: int
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class Recovered:
    """The service restarted; `tasks` are all of this deployment's tasks that were not known to have ended, `ended` what
    those whose end is over or has begun would have told, so that a job that is done is not done again and what is
    ending is not served."""

    tasks: tuple[TaskFound, ...]
    host_restarted: bool = False
    ended: tuple[TaskExited | TaskStopping, ...] = ()


@dataclass(frozen=True, slots=True)
class WentQuiet:
    """The gateway saw no activity since `since`."""

    since: datetime


@dataclass(frozen=True, slots=True)
class IdleClosed:
    """The gateway found it idle and sends it nothing any more."""


@dataclass(frozen=True, slots=True)
class IdleRefused:
    """The gateway found it busy."""


@dataclass(frozen=True, slots=True)
class DemandMeasured:
    """Requests there were at once, in flight or held, on average: over the last 3 s and over the last 30 s."""

    recent: float
    steady: float


@dataclass(frozen=True, slots=True)
class Looked:
    """Its keep_awake rules were looked at: `busy` names the one that is met."""

    busy: str | None


@dataclass(frozen=True, slots=True)
class MemoryShort:
    """The machine runs out of memory, and this one has stood still for longest of those that may be stopped."""


@dataclass(frozen=True, slots=True)
class BecameCurrent:
    """Its environment's address leads here."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer version has its environment's address."""

    by: str | None
    version: int


@dataclass(frozen=True, slots=True)
class Retired:
    """Its environment keeps enough versions that are newer, up to this one."""

    version: int


@dataclass(frozen=True, slots=True)
class PortWanted:
    """A newer version of the same app and environment waits for the fixed port this one holds."""

    by: str
    port: int


@dataclass(frozen=True, slots=True)
class PortReturned:
    """The version it yielded its port to has ended without taking over."""

    by: str


@dataclass(frozen=True, slots=True)
class BuildSucceeded:
    """The build it waits for has made what it may run: an artifact, or an image and what that means."""

    build_id: str
    makes: ProcessType
    artifact_id: str | None
    image: str | None
    digests: Mapping[str, str]
    commit: Commit | None


@dataclass(frozen=True, slots=True)
class BuildFailed:
    """The build it waits for has made nothing."""

    build_id: str
    reason: Reason


TaskFact = (
    Launched
    | ImageWanted
    | ImageFound
    | LaunchWaits
    | LaunchFailed
    | Probed
    | HealthMissed
    | HealthRestored
    | HealthLost
    | Frozen
    | FreezeFailed
    | Thawed
    | Exited
    | Swept
    | Closed
    | TimerElapsed
)
DeploymentFact = (
    Created
    | TaskReady
    | TaskPulling
    | ImagePinned
    | TaskUnready
    | TaskFrozen
    | TaskStopping
    | TaskWaiting
    | TaskExited
    | TaskEnded
    | Recovered
    | WentQuiet
    | IdleClosed
    | IdleRefused
    | DemandMeasured
    | Looked
    | MemoryShort
    | PortWanted
    | PortReturned
    | BecameCurrent
    | Superseded
    | Retired
    | BuildSucceeded
    | BuildFailed
    | TimerElapsed
)
