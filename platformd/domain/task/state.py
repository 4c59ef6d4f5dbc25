"""What a task is at one instant: one run of a deployment's executable. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from platformd.domain.snapshot import Exit, Reason


class TaskPhase(StrEnum):
    """The contract's task states; clients see one that is frozen, or about to be, as running (`shown`)."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    FREEZING = "freezing"
    FROZEN = "frozen"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self in (TaskPhase.STOPPED, TaskPhase.FAILED)

    @property
    def shown(self) -> TaskPhase:
        return TaskPhase.RUNNING if self in (TaskPhase.FREEZING, TaskPhase.FROZEN) else self


class StopStage(StrEnum):
    """How far a stop is. Of a freeze, CLOSING while requests in flight end, then none."""

    LAUNCHING = "launching"  # asked to stop while its launch is under way: goes on when that is known
    CLOSING = "closing"  # leaving the balance, requests in flight end
    SIGNALLED = "signalled"
    KILLED = "killed"
    SWEEPING = "sweeping"  # the process is gone, what it left behind is being ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task's snapshot; `handle` is the driver's opaque way to find it again."""

    id: str
    deployment_id: str
    app_id: str
    slot: int
    generation: int
    phase: TaskPhase = TaskPhase.PENDING
    stop_stage: StopStage | None = None
    stop_grace_secs: float | None = None
    asked: bool = False
    address: tuple[str, int] | None = None
    pid: int | None = None
    container_id: str | None = None
    handle: Mapping[str, object] | None = None
    exit: Exit | None = None
    reason: Reason | None = None
    restarts: int = 0
    revision: int = 1
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    retry_at: datetime | None = None
    stop_deadline: datetime | None = None
    max_runtime_deadline: datetime | None = None

    @property
    def next_deadline(self) -> datetime | None:
        """The earliest instant at which time alone changes this task."""
        runtime = self.max_runtime_deadline if self.phase in LIVING else None
        return min(
            (at for at in (self.stop_deadline, self.retry_at, runtime) if at is not None), default=None
        )


ALIVE = (TaskPhase.STARTING, TaskPhase.RUNNING)
LYING = (TaskPhase.FREEZING, TaskPhase.FROZEN)
LIVING = (*ALIVE, *LYING)
