"""One run of a deployment's executable: its states, transitions and what each step orders.

Pure. Driven by `actors.task`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from platformd.domain.snapshot import Exit, Reason


class TaskPhase(StrEnum):
    """The contract's task states."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self in (TaskPhase.STOPPED, TaskPhase.FAILED)


class StopStage(StrEnum):
    """How far a stop is: leaving the balance, asked by signal, killed, sweeping up what is left."""

    CLOSING = "closing"
    SIGNALLED = "signalled"
    KILLED = "killed"
    SWEEPING = "sweeping"


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
    address: tuple[str, int] | None = None
    pid: int | None = None
    container_id: str | None = None
    handle: dict[str, object] | None = None
    exit: Exit | None = None
    reason: Reason | None = None
    restarts: int = 0
    revision: int = 1
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    stop_deadline: datetime | None = None
    max_runtime_deadline: datetime | None = None
