"""What a deployment is at one instant: a frozen value that `step` turns into the next one.

Pure. Everything else about a deployment (its timers, what the gateway is told, its visible counts) is derived
from this value, so that none of it can disagree with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from platformd.domain import policy
from platformd.domain.snapshot import Commit, Reason
from platformd.domain.spec import DeploymentSpec, SleepMode
from platformd.domain.variables import Precedence, Variable
from platformd.errors import InvalidState


class Status(StrEnum):
    """The source document's lifecycle; the last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


class Phase(StrEnum):
    """What is going on within a status."""

    WAITING_FOR_BUILD = "waiting_for_build"
    PULLING = "pulling"
    STARTING = "starting"
    READY = "ready"
    UPDATING = "updating"
    ASLEEP = "asleep"
    WAKING = "waking"
    DRAINING = "draining"
    BACKING_OFF = "backing_off"
    QUARANTINED = "quarantined"
    DONE = "done"


class Goal(StrEnum):
    """What the deployment is working towards."""

    AWAKE = "awake"
    ASLEEP = "asleep"
    FINISHED = "finished"


class Stage(StrEnum):
    """How far one task of the deployment is, as the deployment sees it."""

    PULLING = "pulling"  # its image is being fetched
    STARTING = "starting"
    READY = "ready"
    FREEZING = "freezing"
    FROZEN = "frozen"  # stands still: no target, wants no probe, wakes by a thaw
    STOPPING = "stopping"
    ENDING = "ending"  # its process is gone, what it left behind is being ended


ON_THE_WAY = (Stage.PULLING, Stage.STARTING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What never changes about a deployment."""

    id: str
    app_id: str
    app_name: str
    namespace: str
    environment: str
    version: int
    sha: str
    preview_host: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One task of the deployment; `address` is where it serves once it is ready."""

    task_id: str
    slot: int
    generation: int
    stage: Stage
    address: tuple[str, int] | None = None
    ready_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What tasks are made by from generation `since` on. `origin` is the generation that brought it: a design that was
    gone back to keeps the name it had."""

    since: int
    origin: int
    spec: DeploymentSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One version of an app.

    `resolved_env` are the variables of its tasks as they were resolved when it was created, secrets sealed; None when
    `spec.env` is all there is; `precedence` is how.

    `spec` is what is wanted in the present `generation`. What tasks are made by changes less often: the present design
    holds from generation `since` on and came with generation `origin`. `former` are the designs that some task was made
    by, and the one that came with generation `last_good`: the last with which all tasks were ready together (0: none).

    `full` is the last non-zero number of replicas asked for, `target` how many tasks being awake means now;
    `resting` are slots that ended well and stay empty until the next wake; `restarts` counts a slot's failures;
    `attempt` counts failures in a row (several tasks failing before the next start are one), `failures` are their
    instants within the restart window; `retry_at` is when a backing-off one starts again (goal AWAKE) or may be
    woken again (goal ASLEEP). `yielded_to` is the newer version its fixed port was left to for its start.
    `quiet_since` is when the last known activity ended, `closing` the ready tasks that the gateway was asked to
    close if nothing happened since, empty again as soon as other tasks are ready. `frozen_since` is when it fell
    asleep with tasks that stand still. Until `lease_until` it is not idle; its keep_awake rules are looked at when
    `look_at` has come, were last at `looked_at`, and `busy` is the one that was met then. `digests` says what each
    image it has run means, whatever the registry says by now. `commit` is what it was built from, by `build_id`.
    """

    identity: Identity
    spec: DeploymentSpec
    resolved_env: Mapping[str, Variable] | None = None
    precedence: Precedence = Precedence.DEPLOYMENT
    status: Status = Status.PENDING
    phase: Phase = Phase.STARTING
    goal: Goal = Goal.AWAKE
    reason: Reason | None = None
    revision: int = 1
    generation: int = 1
    observed_generation: int = 0
    since: int = 1
    origin: int = 1
    former: tuple[Design, ...] = ()
    last_good: int = 0
    full: int = 1
    target: int = 1
    members: tuple[Member, ...] = ()
    resting: frozenset[int] = frozenset()
    restarts: Mapping[int, int] = field(default_factory=dict)
    current: bool = False
    superseded_by: str | None = None
    promoted_from: str | None = None
    yielded_to: str | None = None
    ever_ready: bool = False
    attempt: int = 0
    failures: tuple[datetime, ...] = ()
    retry_at: datetime | None = None
    progress_deadline: datetime | None = None
    wake_deadline: datetime | None = None
    idle_deadline: datetime | None = None
    quiet_since: datetime | None = None
    closing: frozenset[str] = frozenset()
    frozen_since: datetime | None = None
    lease_until: datetime | None = None
    look_at: datetime | None = None
    looked_at: datetime | None = None
    busy: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    commit: Commit | None = None
    build_id: str | None = None
    updated_at: datetime

    @property
    def id(self) -> str:
        return self.identity.id

    @property
    def image_digest(self) -> str | None:
        """What its image means for as long as it lives, once it was found."""
        return None if self.spec.image is None else self.digests.get(self.spec.image)

    def refuse_if_finished(self, verb: str) -> None:
        """InvalidState for what is final: it cannot be `verb` (changed, woken, …) any more."""
        if self.status.final:
            ended = "was cancelled" if self.status is Status.CANCELLED else f"has {self.status.value}"
            raise InvalidState(f"deployment {self.id} {ended} and cannot be {verb} any more")

    def in_stage(self, *stages: Stage) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.stage in stages)

    @property
    def live(self) -> tuple[Member, ...]:
        """The tasks that are meant to serve: on the way, or ready."""
        return self.in_stage(*ON_THE_WAY, Stage.READY)

    @property
    def ready(self) -> tuple[Member, ...]:
        return self.in_stage(Stage.READY)

    @property
    def lying(self) -> tuple[Member, ...]:
        """The tasks that stand still, or are about to."""
        return self.in_stage(Stage.FREEZING, Stage.FROZEN)

    @property
    def freezes(self) -> bool:
        """Its ready tasks stand still while it sleeps. Not where they would keep a port from a newer version."""
        keeps_port = self.spec.networking.port is not None and self.superseded_by is not None
        return self.spec.sleep_mode is not SleepMode.STOP and self.yielded_to is None and not keeps_port

    @property
    def thaw_deadline(self) -> datetime | None:
        """When mode `auto` ends the tasks that stand still."""
        if self.frozen_since is None or self.spec.sleep_mode is not SleepMode.AUTO:
            return None
        return self.frozen_since + policy.FROZEN_FOR_TIMEOUTS * timedelta(seconds=self.spec.idle_timeout_secs)

    def idle_after(self, since: datetime) -> datetime:
        """When it has been idle for long enough if the last request ended at `since`."""
        last = since if self.lease_until is None else max(since, self.lease_until)
        return last + timedelta(seconds=self.spec.idle_timeout_secs)

    @property
    def design(self) -> Design:
        """What tasks are made by now."""
        return Design(since=self.since, origin=self.origin, spec=self.spec)

    def made_by(self, generation: int) -> Design | None:
        """The design of a task of that generation; None when that was long ago."""
        if generation >= self.since:
            return self.design
        return next((design for design in reversed(self.former) if design.since <= generation), None)

    def spec_of(self, generation: int) -> DeploymentSpec:
        """What a task of that generation was started by."""
        design = self.made_by(generation)
        return self.spec if design is None else design.spec

    def is_outdated(self, member: Member) -> bool:
        """It was made by another design than the present one."""
        if member.generation >= self.since:
            return False
        design = self.made_by(member.generation)
        return design is None or design.origin != self.origin

    @property
    def outdated(self) -> tuple[Member, ...]:
        """Live tasks that are to be replaced."""
        if self.since == 1:
            return ()
        return tuple(member for member in self.live if self.is_outdated(member))

    @property
    def good_design(self) -> Design | None:
        """What to go back to should the present design fail; None when that itself is good, or nothing was."""
        if self.last_good in (0, self.origin):
            return None
        return next((design for design in reversed(self.former) if design.origin == self.last_good), None)

    @property
    def coming_up(self) -> bool:
        """No task is ready, but one is going to be without anybody asking: requests may wait for it."""
        pausing = self.retry_at is not None and not self.live
        return self.goal is Goal.AWAKE and not self.ready and not pausing

    @property
    def tasks_total(self) -> int:
        """How many tasks are wanted now: 0 while asleep or finished, none for a slot whose task ended well."""
        return self.target - len(self.resting) if self.goal is Goal.AWAKE else 0

    @property
    def tasks_ready(self) -> int:
        return len(self.ready)

    @property
    def progress(self) -> int:
        """Ready over wanted in percent; 100 while asleep or when nothing is wanted."""
        if self.tasks_total == 0:
            return 100
        return min(100, self.tasks_ready * 100 // self.tasks_total)

    @property
    def next_deadline(self) -> datetime | None:
        """The earliest instant at which time alone changes this deployment; none while it is quarantined."""
        if self.phase is Phase.QUARANTINED:
            return None
        deadlines = (
            self.progress_deadline,
            self.wake_deadline,
            self.idle_deadline,
            self.retry_at,
            self.look_at,
            self.thaw_deadline,
        )
        return min((at for at in deadlines if at is not None), default=None)
