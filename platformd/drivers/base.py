"""The contract every driver keeps: what a task actor may order and which facts it hears back.

Called by task actors on pool threads: every method returns at once; what takes time goes on elsewhere and comes back
through the sink as a `TaskFact`, from any thread. A driver never raises for what the world does, only for misuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from platformd.domain.events import TaskFact
from platformd.domain.spec import DeploymentSpec, StopPolicy
from platformd.domain.task import Task

Sink = Callable[[str, TaskFact], None]
"""Takes (task id, fact)."""

Send = Callable[[dict[str, Any]], None]
"""To the keeper; raises OSError or a PlatformError when it is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOrder:
    """All a driver needs to start one task. `executable` is the artifact's file (native) or None; `image_digest` what
    the image was pinned to when it was first found; `env` are its own variables, there only in the order that `launch`
    gets: in the clear, and so never shown."""

    task_id: str
    deployment_id: str
    slot: int
    generation: int
    app_name: str
    environment: str
    spec: DeploymentSpec
    executable: Path | None = None
    app_id: str = ""
    image_digest: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a task uses now: CPU in percent of one core since the last asking, memory in bytes; and the processor time
    it has used so far, in µs."""

    cpu_percent: float
    memory_bytes: int
    cpu_usec: int = 0


class Driver(Protocol):
    """One way of running tasks. With `intent_first` a task's row is durable before it is launched; without, the driver
    keeps a record of its own of what it was told to launch, and the row may follow."""

    @property
    def intent_first(self) -> bool: ...

    def next_id(self, deployment_id: str, slot: int, /) -> str:
        """The id for the next task in a slot: the one that something was made ready under, else a new one. On the way
        of a wake."""

    def launch(self, order: LaunchOrder) -> None:
        """Start it: Launched, then Probed once its own listener answers (or Exited); or LaunchWaits/LaunchFailed."""

    def adopt(self, task: Task, order: LaunchOrder) -> None:
        """Take a task over after a restart by `task.handle`: goes on probing if it was not ready, health checks if it
        was, limits re-applied; Exited (+ Swept after sweep) when it is gone. One that is to stand still: Frozen if it
        does, Thawed if it does not; any other is thawed if it does."""

    def signal(self, task: Task, signal: str) -> None:
        """Send `signal` ("SIGTERM") to every process of the task."""

    def freeze(self, task: Task) -> None:
        """Make every process of it stand still where it is, unprobed: Frozen, or FreezeFailed and it runs on."""

    def thaw(self, task: Task) -> None:
        """Let it go on, probed again; harmless when it does not stand still, and also in the middle of a freeze, which
        is void then. On the way of a wake: no more than what that takes itself. HealthLost if it cannot be."""

    def kill(self, task: Task) -> None:
        """SIGKILL everything of the task until nothing is left, then Swept. Exited still comes once."""

    def sweep(self, task: Task) -> None:
        """End what an exited task left behind, then Swept."""

    def forget(self, task: Task) -> None:
        """The task is over: give back its port, cgroup, folders."""

    def usage(self, task_ids: Iterable[str]) -> Mapping[str, Usage]:
        """What the named live tasks use; cheap, may be called each few seconds."""

    def end(self, task: Task, stop: StopPolicy) -> None:
        """Signal, wait out the grace, kill: blocks, for an orderly end of the service that takes its tasks along."""

    def put_away(self) -> None:
        """Nothing stays ready for tasks to come: the service that takes its tasks along has ended them. Blocks."""
