"""What the gateway has to know of a deployment, derived from its state. Pure.

`actors.deployment` compares it before and after each step and tells the gateway what changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from platformd.domain.deployment.state import Deployment, Goal, Phase, Status
from platformd.domain.spec import NoWake


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer for requests that nothing will be woken for."""

    status: int
    code: str
    detail: str
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where one ready task serves."""

    task_id: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Routing:
    """`refusal` None means: hold requests and wake."""

    targets: tuple[Target, ...]
    refusal: Refusal | None
    wake_timeout_secs: float
    queue_limit: int
    concurrency: int
    no_wake: tuple[NoWake, ...]
    autoscaled: bool
    phase: Phase


def routing(state: Deployment) -> Routing:
    """What holds for requests to `state` now."""
    wake = state.spec.wake
    return Routing(
        targets=tuple(
            Target(member.task_id, *member.address) for member in state.ready if member.address is not None
        ),
        refusal=refusal(state),
        wake_timeout_secs=wake.timeout_secs,
        queue_limit=wake.queue_limit,
        concurrency=wake.concurrency,
        no_wake=state.spec.no_wake,
        autoscaled=state.spec.autoscale is not None,
        phase=state.phase,
    )


def refusal(state: Deployment) -> Refusal | None:
    """Why a request that finds no ready task is refused rather than held, or None."""
    if state.goal is Goal.FINISHED:
        ended = "was cancelled" if state.status is Status.CANCELLED else f"has {state.status.value}"
        return Refusal(503, "NO_DEPLOYMENT", f"this deployment {ended}")
    if not state.spec.serves:
        return Refusal(503, "NO_DEPLOYMENT", "this deployment has protocol none and serves no requests")
    if state.phase is Phase.QUARANTINED:
        return Refusal(
            503, "NO_DEPLOYMENT", "this deployment is quarantined after repeated internal failures"
        )
    if state.phase is Phase.WAITING_FOR_BUILD:
        return Refusal(503, "NO_DEPLOYMENT", "this deployment waits for its build")
    if state.retry_at is not None and not state.live:
        return Refusal(503, "BACKING_OFF", "the app keeps crashing and will be tried again", state.retry_at)
    if not state.spec.cold_start_enabled:
        return Refusal(503, "ASLEEP", "no task is ready and cold start is off for this deployment")
    return None
