"""What is asked of a build, what happens to it, and what it has the shell do. Pure values.

Facts come from the queue, the workshop (git, the engine, the artifacts' folder), the driver that runs its command
(`events.Launched` and its like), the store and timers.
"""

from __future__ import annotations

from dataclasses import dataclass

from platformd.domain import events
from platformd.domain.snapshot import Commit, Reason

# ---- commands ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cancel:
    """End it; nothing of it is left afterwards."""


# ---- facts -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Queued:
    """Its row is durable."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer push wants the same place; one that has begun goes on."""

    by: str


@dataclass(frozen=True, slots=True)
class Begun:
    """Its turn has come."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Its tree is there, checked out; `commit` unless it was uploaded."""

    commit: Commit | None


@dataclass(frozen=True, slots=True)
class FoundBuilt:
    """Its commit was built `by` another one meanwhile."""

    by: str
    commit: Commit


@dataclass(frozen=True, slots=True)
class ImageMade:
    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What its command left behind is an artifact."""

    artifact_id: str


@dataclass(frozen=True, slots=True)
class WorkFailed:
    """Fetching, the engine or storing could not be done; nothing of that runs any more."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Deployed:
    """It is done, and so is what it was for: `deployment_id` was made of it, or is filled in by it."""

    deployment_id: str | None


@dataclass(frozen=True, slots=True)
class DeployRefused:
    """It has succeeded, but nothing can be deployed."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class DeployWaits:
    """The store takes no writes at the moment."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Its actor is made anew, after a restart of the service or a failure of its own: what it had under way is
    nobody's any more."""


# ---- effects -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EnterQueue:
    """Wait for a turn."""


@dataclass(frozen=True, slots=True)
class LeaveQueue:
    """Let the next one have its turn."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Have the tree checked out."""


@dataclass(frozen=True, slots=True)
class RunCommand:
    """Have the driver start the command in the tree."""


@dataclass(frozen=True, slots=True)
class MakeImage:
    """Have the engine build the tree."""


@dataclass(frozen=True, slots=True)
class SweepRun:
    """End what the command left running."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Collect:
    """Have what the command made stored as an artifact."""


@dataclass(frozen=True, slots=True)
class EndWork:
    """End whatever runs for it, the process `run_id` or the workshop's work."""

    run_id: str | None


@dataclass(frozen=True, slots=True)
class Deploy:
    """Have made or found what it is for."""


@dataclass(frozen=True, slots=True)
class FillIn:
    """Tell the deployment that waits for it what it may run now."""


@dataclass(frozen=True, slots=True)
class Disappoint:
    """Tell the deployment that waits for it why nothing will come."""


@dataclass(frozen=True, slots=True)
class ForgetRun:
    """Give back everything the command's process had."""

    run_id: str


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Remove its folder."""


@dataclass(frozen=True, slots=True)
class Say:
    """A line for people in its log."""

    text: str


BuildCommand = Cancel
BuildFact = (
    Queued
    | Superseded
    | Begun
    | Fetched
    | FoundBuilt
    | ImageMade
    | Stored
    | WorkFailed
    | Deployed
    | DeployRefused
    | DeployWaits
    | Interrupted
    | events.Launched
    | events.LaunchWaits
    | events.LaunchFailed
    | events.Exited
    | events.Swept
    | events.TimerElapsed
)
BuildEffect = (
    EnterQueue
    | LeaveQueue
    | Fetch
    | RunCommand
    | MakeImage
    | SweepRun
    | Collect
    | EndWork
    | Deploy
    | FillIn
    | Disappoint
    | ForgetRun
    | CleanUp
    | Say
)
