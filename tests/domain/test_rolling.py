"""Other specifications in place: one task at a time, new ready before old goes, and back when it does not work."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from platformd.domain import commands, effects, events
from platformd.domain.deployment.state import Goal, Phase, Status
from platformd.domain.snapshot import Reason
from platformd.domain.spec import (
    CpuPolicy,
    DeploymentSpec,
    Networking,
    ProcessType,
    Resources,
    Restart,
    SleepMode,
    StopPolicy,
    Volume,
)
from platformd.errors import Invalid, InvalidState
from tests.domain.builders import CLEAN, CRASH, Story, native

MORE = commands.Change(resources=commands.ResourcesChange(cpu="200m"))
STILL_MORE = commands.Change(resources=commands.ResourcesChange(cpu="300m"))
LOST = Reason(code="UNHEALTHY", message="failed its health checks for 60 s")


def members(story: Story) -> list[str]:
    return [member.task_id for member in story.state.members]


def rolled(story: Story) -> list[tuple[str, str]]:
    """Play the roll to its end with everything going well; (new task, the old one it took the place of) in order."""
    steps = []
    while story.started:
        (new,) = story.started
        floor = story.state.tasks_ready
        story.ready(new)
        assert story.state.tasks_ready >= floor
        (old,) = story.stopped
        steps.append((new, old))
        told = story.effects
        story.ends(old)
        story.effects = told
    return steps


def test_a_roll_replaces_one_task_at_a_time_and_never_serves_with_fewer() -> None:
    story = Story.running(native(replicas=3))
    old = members(story)
    story.tell(MORE, 5)
    assert (story.state.phase, story.state.generation, story.state.observed_generation) == (
        Phase.UPDATING,
        2,
        1,
    )
    assert (len(story.started), story.stopped) == (1, [])
    steps = rolled(story)
    assert [gone for _, gone in steps] == old
    state = story.state
    assert (state.phase, state.observed_generation, state.tasks_ready) == (Phase.READY, 2, 3)
    assert {member.generation for member in state.members} == {2}
    assert (state.former, state.progress_deadline) == ((), None)


def test_a_task_keeps_the_specification_of_its_generation() -> None:
    story = Story.running(native(replicas=2))
    before = story.state.spec
    story.tell(MORE, 5)
    story.tell(commands.Change(replicas=3))
    assert story.state.generation == 3
    assert (story.state.spec_of(1), story.state.spec_of(2).resources.cpu) == (before, "200m")
    assert story.state.spec_of(3) == story.state.spec_of(2), "a count is nothing that tasks are made by"


def test_scaling_replaces_nothing() -> None:
    story = Story.running(native(replicas=2))
    story.tell(commands.Change(replicas=3), 5)
    story.ready(*story.started)
    assert story.state.phase is Phase.READY
    assert [member.generation for member in story.state.members] == [1, 1, 2]


@pytest.mark.parametrize(
    "spec",
    [native(replicas=2, stop=StopPolicy(exclusive=True)), native(networking=Networking(port=8080))],
    ids=["exclusive", "fixed port"],
)
def test_where_two_cannot_be_side_by_side_the_old_one_goes_first(spec: DeploymentSpec) -> None:
    story = Story.running(spec)
    for old in members(story):
        if not story.stopped:
            story.tell(MORE, 5)
        assert (story.stopped, story.started) == ([old], [])
        story.ends(old)
        (new,) = story.started
        story.ready(new)
    assert (story.state.phase, story.state.observed_generation) == (Phase.READY, 2)


def test_restart_replaces_every_task_by_its_like() -> None:
    story = Story.running(native(replicas=2))
    spec, old = story.state.spec, members(story)
    story.tell(commands.Restart(), 5)
    assert story.state.phase is Phase.UPDATING
    assert [gone for _, gone in rolled(story)] == old
    assert (story.state.spec, story.state.generation) == (spec, 2)


def test_restart_of_what_sleeps_has_nothing_to_do_and_of_what_has_ended_is_refused() -> None:
    story = Story.asleep(native())
    before = story.state
    assert story.tell(commands.Restart(), 5) is before
    story.tell(commands.Cancel())
    with pytest.raises(InvalidState, match="was cancelled and cannot be restarted any more"):
        story.tell(commands.Restart())
    with pytest.raises(InvalidState, match="was cancelled and cannot be changed any more"):
        story.tell(MORE)


def test_while_asleep_a_change_waits_for_the_next_wake() -> None:
    story = Story.asleep(native())
    story.tell(MORE, 5)
    assert (story.state.phase, story.state.generation, story.started) == (Phase.ASLEEP, 2, [])
    story.tell(commands.Wake(by_traffic=True), 6)
    (task,) = story.started
    assert story.of(effects.StartTask)[0].generation == 2
    story.ready(task)
    assert (story.state.phase, story.state.former) == (Phase.READY, ())
    again = Story.asleep(native())
    again.tell(replace(MORE, replicas=2), 5)
    assert (again.state.phase, len(again.started)) == (Phase.WAKING, 2)


def test_what_changes_nothing_is_no_generation() -> None:
    story = Story.running(native())
    before = story.state
    assert story.tell(commands.Change(replicas=1, resources=commands.ResourcesChange(cpu="100m"))) is before
    assert story.tell(commands.Change(volumes=())) is before


def test_another_change_in_the_middle_of_a_roll_is_the_one_that_counts() -> None:
    story = Story.running(native(replicas=2))
    old = members(story)
    story.tell(MORE, 5)
    (second,) = story.started
    story.ready(second)
    (abandoned,) = story.started
    story.tell(STILL_MORE, 6)
    assert story.stopped == [abandoned]
    gone = [task for _, task in rolled(story)]
    assert sorted(gone) == sorted([second, old[1]])
    assert {member.generation for member in story.state.live} == {3}


# ---- back to the last good generation -------------------------------------------------------------------------


def test_a_roll_that_misses_its_deadline_goes_back_once_and_says_so() -> None:
    story = Story.running(native(replicas=2, progress_deadline_secs=20))
    spec, old = story.state.spec, members(story)
    story.tell(replace(MORE, replicas=3), 5)
    stuck = set(members(story)) - set(old)
    story.time(25)
    state = story.state
    assert (state.spec, state.generation, state.target) == (spec, 3, 2)
    assert state.reason is not None
    assert state.reason.code == "ROLLED_BACK"
    assert "went back to generation 1" in state.reason.message
    assert [line.text for line in story.of(effects.SystemLine)] == [state.reason.message]
    assert set(story.stopped) == stuck
    assert (state.phase, state.observed_generation, members(story)[:2]) == (Phase.READY, 3, old)
    story.tell(events.TaskReady(old[0], None))
    assert story.state.reason is not None, "it stays visible"


def test_going_back_rolls_too() -> None:
    story = Story.running(native(replicas=3, progress_deadline_secs=20))
    old = members(story)
    story.tell(MORE, 5)
    (first,) = story.started
    story.ready(first, at=10)
    (stuck,) = story.started
    story.ends(old[0])
    story.time(29)
    assert story.state.generation == 2, "a roll that gets on has more time"
    story.time(30)
    assert story.state.generation == 3
    assert stuck in story.stopped
    (new,) = story.started
    assert (story.state.phase, story.state.tasks_ready) == (Phase.UPDATING, 3)
    story.ready(new)
    assert story.stopped == [first]
    assert (story.state.phase, story.state.observed_generation) == (Phase.READY, 3)


def test_a_generation_that_crashes_its_budget_away_goes_back() -> None:
    story = Story.running(native(restart=Restart(max_attempts=1)))
    (old,) = members(story)
    story.tell(MORE, 5)
    story.exits(*story.started, at=6)
    assert (story.state.phase, story.state.retry_at is None) == (Phase.UPDATING, False)
    story.time(7)
    story.exits(*story.started, at=8)
    state = story.state
    assert (state.generation, state.phase, members(story)) == (3, Phase.READY, [old])
    assert state.reason is not None
    assert (state.reason.code, state.reason.exit_code) == ("ROLLED_BACK", 3)


def test_one_that_cannot_even_begin_goes_back_at_once() -> None:
    story = Story.running(native())
    story.tell(commands.Change(process_type=ProcessType.DOCKER, image="shop:2"), 5)
    assert (story.state.spec.artifact_id, story.state.spec.image) == (None, "shop:2")
    refused = Reason(code="IMAGE_NOT_FOUND", message="there is no image shop:2")
    story.exits(*story.started, at=6, reason=refused)
    assert story.state.spec == native()
    assert story.state.reason is not None
    assert "there is no image shop:2" in story.state.reason.message


def test_what_was_gone_back_to_is_not_gone_back_from() -> None:
    story = Story.running(native(restart=Restart(max_attempts=0)))
    (old,) = members(story)
    story.tell(MORE, 5)
    story.exits(*story.started, at=6)
    assert story.state.generation == 3
    story.exits(old, at=7)
    assert (story.state.generation, story.state.goal, story.state.phase) == (
        3,
        Goal.ASLEEP,
        Phase.BACKING_OFF,
    )


def test_before_anything_was_good_there_is_nothing_to_go_back_to() -> None:
    story = Story(native(progress_deadline_secs=20))
    story.tell(events.Created())
    story.tell(MORE, 5)
    assert len(story.stopped) == len(story.started) == 1, "what never served is replaced at once"
    assert story.time(25).status is Status.FAILED


def test_an_old_task_that_crashes_in_a_roll_is_replaced_at_once() -> None:
    story = Story.running(native(replicas=2))
    first, second = members(story)
    story.tell(MORE, 5)
    (new,) = story.started
    story.exits(second, at=6)
    assert (len(story.started), story.state.retry_at, story.state.failures) == (1, None, ())
    story.exits(first, at=7)
    assert story.started == [], "its successor is on the way"
    assert new in members(story)


def test_a_job_that_ends_well_in_the_new_generation_has_taken_over() -> None:
    story = Story.running(native(replicas=2, cold_start_enabled=False))
    first, _ = members(story)
    story.tell(MORE, 5)
    story.exits(*story.started, exit=CLEAN, at=6)
    assert story.stopped == [first]
    assert story.state.resting == frozenset({0})


def test_an_unhealthy_old_task_goes_first() -> None:
    story = Story.running(native(replicas=2))
    _, second = members(story)
    story.tell(events.TaskUnready(second), 4)
    story.tell(MORE, 5)
    (new,) = story.started
    story.ready(new)
    assert story.stopped == [second]


def test_sleeping_in_the_middle_of_a_roll_the_next_wake_starts_the_new_one_only() -> None:
    story = Story.running(native(replicas=2))
    story.tell(MORE, 5)
    story.tell(commands.Sleep(), 6)
    story.ends(*members(story))
    story.tell(commands.Wake(), 7)
    assert {order.generation for order in story.of(effects.StartTask)} == {2}
    assert story.state.good_design is not None, "and can still be gone back from"
    story.ready(*story.started)
    assert story.state.former == ()


def test_what_stands_still_by_a_former_design_ends_and_the_wake_starts_anew() -> None:
    story = Story.running(native(sleep_mode=SleepMode.FREEZE))
    (task,) = members(story)
    story.tell(commands.Sleep(), 5)
    story.tell(events.TaskFrozen(task))
    assert story.state.phase is Phase.ASLEEP
    story.tell(MORE, 6)
    assert (story.state.phase, story.stopped) == (Phase.DRAINING, [task])
    story.tell(commands.Wake(by_traffic=True), 7)
    assert [order.generation for order in story.of(effects.StartTask)] == [2]


def test_after_a_crash_of_the_service_the_roll_goes_on() -> None:
    story = Story.running(native(replicas=3))
    old = members(story)
    story.tell(MORE, 5)
    (new,) = story.started
    found = [events.TaskFound(task, slot, 1) for slot, task in enumerate(old)]
    story.tell(events.Recovered((*found, events.TaskFound(new, 0, 2))), 6)
    assert (story.started, story.stopped, story.state.tasks_ready) == ([], [], 3)
    story.ready(new)
    assert story.stopped == [old[0]]
    assert len(story.started) == 1


# ---- what cannot be -------------------------------------------------------------------------------------------

DOCKER = DeploymentSpec(process_type=ProcessType.DOCKER, image="shop:1", replicas=3)
VOLUME = Volume(host_path="/data", container_path="/elsewhere")


@pytest.mark.parametrize(
    ("spec", "change", "pointers"),
    [
        (native(networking=Networking(port=80)), commands.Change(replicas=2), ["/spec/replicas"]),
        (native(), commands.Change(image="shop:2"), ["/spec/image"]),
        (native(), commands.Change(process_type=ProcessType.DOCKER), ["/spec/image"]),
        (DOCKER, commands.Change(process_type=ProcessType.TISH), ["/spec/image"]),
        (native(), commands.Change(volumes=(VOLUME,)), ["/spec/volumes/0/container_path"]),
        (
            replace(DOCKER, volumes=(VOLUME,), networking=Networking(port=80)),
            commands.Change(process_type=ProcessType.TISH),
            ["/spec/image", "/spec/process_type", "/spec/process_type"],
        ),
        (
            native(networking=Networking(port=80)),
            commands.Change(replicas=2, image="shop:2", volumes=(VOLUME,)),
            ["/spec/image", "/spec/replicas", "/spec/volumes/0/container_path"],
        ),
    ],
)
def test_contradictions_of_the_whole_are_all_named_at_the_keys_that_bring_them(
    spec: DeploymentSpec, change: commands.Change, pointers: list[str]
) -> None:
    story = Story.running(spec)
    before = story.state
    with pytest.raises(Invalid) as refused:
        story.tell(change, 5)
    assert [fault.pointer for fault in refused.value.faults] == pointers
    assert story.state is before


def test_a_stated_cpu_keeps_the_memory_that_was() -> None:
    spec = native(resources=Resources(cpu="100m", memory="64Mi"))
    story = Story.running(spec)
    order = commands.ResourcesChange(cpu="200m", cpu_policy=CpuPolicy.CAP)
    story.tell(commands.Change(resources=order), 5)
    assert story.state.spec.resources == Resources(cpu="200m", memory="64Mi", cpu_policy=CpuPolicy.CAP)


def test_what_waits_for_its_build_starts_once_it_is_given_an_image() -> None:
    story = Story(native(artifact_id=None))
    story.tell(commands.Change(resources=commands.ResourcesChange(cpu="200m")), 1)
    assert (story.state.phase, story.state.generation) == (Phase.WAITING_FOR_BUILD, 2)
    story.tell(commands.Change(process_type=ProcessType.DOCKER, image="shop:2"), 2)
    assert (story.state.phase, len(story.started)) == (Phase.STARTING, 1)
    none = Story(native(artifact_id=None))
    none.tell(commands.Change(replicas=0, process_type=ProcessType.DOCKER, image="shop:2"), 2)
    assert (none.state.phase, none.state.status) == (Phase.ASLEEP, Status.RUNNING)


def test_an_unhealthy_new_task_counts_against_the_new_generation() -> None:
    story = Story.running(native(replicas=2, restart=Restart(max_attempts=0)))
    story.tell(MORE, 5)
    (new,) = story.started
    story.ready(new)
    story.tell(events.TaskStopping(new, LOST), 70)
    assert story.state.reason is not None
    assert story.state.reason.code == "ROLLED_BACK"


def test_crashing_before_the_change_it_starts_with_a_clean_slate() -> None:
    story = Story.running(native(cold_start_enabled=False))
    story.exits(*members(story), exit=CRASH, at=5)
    assert story.state.phase is Phase.BACKING_OFF
    story.tell(MORE, 5.01)
    assert (len(story.started), story.state.failures) == (1, ())
    assert story.state.progress_deadline is not None
    assert story.state.progress_deadline - story.state.updated_at == timedelta(seconds=600)
