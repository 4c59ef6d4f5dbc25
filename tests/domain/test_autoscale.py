"""How many tasks the demand calls for: up at once, down slowly, never beyond its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platformd.domain import commands
from platformd.domain.deployment.autoscale import wanted
from platformd.domain.deployment.state import Phase
from platformd.domain.events import DemandMeasured
from platformd.domain.spec import Autoscale, Networking, Protocol, WakePolicy, contradictions
from platformd.errors import Invalid
from tests.domain.builders import CLEAN, Story, job, native

RULE = Autoscale(min=1, max=4, target_concurrency=10)


@pytest.mark.parametrize(
    ("count", "recent", "steady", "settled", "expected"),
    [
        (1, 5, 5, True, 1),
        (1, 19, 10, True, 1),
        (1, 20, 10, True, 2),  # twice what one takes: a burst
        (2, 35, 15, True, 2),  # less than that waits for the long average
        (2, 35, 21, True, 3),
        (2, 31, 5, False, 2),
        (2, 40, 5, False, 4),
        (1, 150, 150, False, 4),
        (4, 0, 5, False, 4),
        (4, 0, 5, True, 1),
        (2, 0, 9.2, True, 2),  # would do with one task, without room to spare
        (2, 0, 9.0, True, 1),
        (3, 0, 0, True, 1),
        (9, 0, 0, False, 4),
    ],
)
def test_the_number_of_tasks(count: int, recent: float, steady: float, settled: bool, expected: int) -> None:
    assert wanted(RULE, count, DemandMeasured(recent, steady), settled=settled) == expected


@given(
    st.integers(0, 5),
    st.integers(1, 8),
    st.integers(1, 100),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.booleans(),
)
def test_it_stays_within_its_bounds(
    low: int, high: int, count: int, recent: float, steady: float, settled: bool
) -> None:
    low = min(low, high)
    rule = Autoscale(min=low, max=high, target_concurrency=2.5)
    assert max(1, low) <= wanted(rule, count, DemandMeasured(recent, steady), settled=settled) <= high


@given(st.floats(0, 60))
def test_a_steady_demand_finds_its_number_and_keeps_it(demand: float) -> None:
    seen = [1]
    for _ in range(5):
        seen.append(wanted(RULE, seen[-1], DemandMeasured(demand, demand), settled=True))
    assert seen[1:] == [seen[1]] * 5


def running(**spec: object) -> Story:
    return Story.running(native(autoscale=RULE, **spec))


def test_a_burst_starts_tasks_and_quiet_drains_the_newest() -> None:
    story = running()
    story.tell(DemandMeasured(40, 12), at=1)
    assert len(story.started) == 3
    assert (story.state.tasks_total, story.state.phase) == (4, Phase.READY)
    story.ready(*story.started, at=2)
    story.tell(DemandMeasured(0, 0), at=31)
    assert story.stopped == [], "what came last has not been ready for 30 s"
    story.tell(DemandMeasured(0, 14), at=33)
    newest = [member.task_id for member in story.state.members if member.slot >= 2]
    assert story.stopped == newest[::-1]
    assert story.state.tasks_total == 2


def test_a_wake_starts_as_many_as_it_says_and_may_grow_before_the_first_is_ready() -> None:
    story = running(replicas=3, wake=WakePolicy(replicas=1))
    story.tell(commands.Sleep())
    for task in story.stopped:
        story.exits(task, CLEAN)
    assert story.state.phase is Phase.ASLEEP
    story.tell(DemandMeasured(50, 50))
    assert story.started == [], "asleep is the idle timer's business"
    story.tell(commands.Wake(by_traffic=True))
    assert len(story.started) == 1
    story.tell(DemandMeasured(50, 50))
    assert len(story.started) == 3
    assert story.state.phase is Phase.WAKING


def test_slots_that_ended_well_are_not_counted() -> None:
    story = running(replicas=2)
    first = story.state.members[0].task_id
    story.exits(first, CLEAN, at=1)
    assert story.state.tasks_total == 1
    story.tell(DemandMeasured(25, 25), at=2)
    assert (story.state.tasks_total, story.state.target) == (3, 4)


def test_it_starts_within_its_bounds_and_patch_goes_on_from_there() -> None:
    story = Story.running(native(replicas=1, autoscale=Autoscale(min=2, max=4, target_concurrency=10)))
    assert story.state.tasks_total == 2
    story.tell(commands.Change(replicas=4), at=5)
    assert story.state.tasks_total == 4
    with pytest.raises(Invalid) as refused:
        story.tell(commands.Change(replicas=5))
    assert [fault.pointer for fault in refused.value.faults] == ["/spec/replicas"]
    story.tell(commands.Change(replicas=0), at=6)
    assert story.state.tasks_total == 0


def test_without_autoscale_nothing_happens() -> None:
    story = Story.running(native())
    before = story.state
    assert story.tell(DemandMeasured(500, 500), at=1) is before


def test_what_contradicts_it() -> None:
    rule = Autoscale(min=3, max=2, target_concurrency=1)
    fixed = Networking(port=8080)
    found = {fault.pointer for fault in contradictions(native(replicas=3, autoscale=rule, networking=fixed))}
    assert found >= {"/autoscale/min", "/autoscale/max", "/replicas"}
    assert "/autoscale" in {fault.pointer for fault in contradictions(job(autoscale=RULE))}
    assert not contradictions(native(autoscale=RULE, networking=Networking(protocol=Protocol.HTTP)))
