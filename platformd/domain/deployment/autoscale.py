"""How many tasks the demand calls for, and what becomes of a measurement. Pure. Handler of the transitions table.

Demand is the number of requests there are at once, in flight or held. Up at once: by the average over 30 s, or over
3 s when that calls for twice the tasks there are. Down only by the average over 30 s, with some room to spare, and only
when every task has been ready for as long: what a burst has brought is not taken back before it can have shown.
"""

from __future__ import annotations

import math
from datetime import timedelta

from platformd.domain import effects, events
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.state import Deployment, Goal, Status
from platformd.domain.spec import Autoscale

SETTLED_AFTER = timedelta(seconds=30)
BURST = 2
HEADROOM = 1.1


def wanted(rule: Autoscale, count: int, demand: events.DemandMeasured, *, settled: bool) -> int:
    """The number of tasks that should run instead of `count`; `settled` when fewer may."""
    burst = demand.recent >= BURST * count * rule.target_concurrency
    more = _tasks_for(max(demand.steady, demand.recent) if burst else demand.steady, rule)
    if more > count or not settled:
        return rule.within(max(more, count))
    return rule.within(min(count, _tasks_for(demand.steady * HEADROOM, rule)))


def demand_measured(draft: DeploymentDraft, event: events.DemandMeasured) -> None:
    """Change how many tasks being awake means. Slots that ended well stay empty and are not counted."""
    state = draft.state
    rule = state.spec.autoscale
    if rule is None or state.goal is not Goal.AWAKE or state.status is not Status.RUNNING:
        return
    count = wanted(rule, state.tasks_total, event, settled=_settled(draft))
    target = _target_for(count, state, rule)
    if target == state.target:
        return
    draft.set(target=target, resting=frozenset(slot for slot in state.resting if slot < target))
    text = f"autoscale: from {state.tasks_total} to {draft.state.tasks_total} tasks"
    draft.order(
        effects.SystemLine(f"{text} for {event.recent:.1f} requests at once ({event.steady:.1f} over 30 s)")
    )


def _tasks_for(requests: float, rule: Autoscale) -> int:
    return math.ceil(round(requests / rule.target_concurrency, 6))


def _settled(draft: DeploymentDraft) -> bool:
    state = draft.state
    old = [
        member.ready_at is not None and draft.at - member.ready_at >= SETTLED_AFTER for member in state.ready
    ]
    there = state.generation == state.observed_generation and len(old) >= state.tasks_total
    return there and all(old)


def _target_for(count: int, state: Deployment, rule: Autoscale) -> int:
    """The fewest slots from 0 on of which `count` are to be filled; never more than the rule allows."""
    target = count
    while target < rule.max and target - sum(slot < target for slot in state.resting) < count:
        target += 1
    return target
