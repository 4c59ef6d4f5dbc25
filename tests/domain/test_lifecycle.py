"""A deployment's status: how it begins, scales, is superseded, runs out of time and ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from platformd.domain import commands, effects, events
from platformd.domain.deployment.state import Goal, Phase, Stage, Status
from platformd.domain.snapshot import Reason
from platformd.domain.spec import Networking, Restart, RestartPolicyKind, WakePolicy
from platformd.errors import Invalid, InvalidState
from tests.domain.builders import CLEAN, CRASH, Story, after, job, native

MAX_RUNTIME = Reason(code="MAX_RUNTIME", message="ran for its max_runtime_secs of 10 s")
ALWAYS = Restart(policy=RestartPolicyKind.ALWAYS)


def test_running_once_every_wanted_task_has_been_ready_together() -> None:
    story = Story(native(replicas=2))
    story.tell(events.Created())
    first, second = story.started
    assert (story.state.status, story.state.phase) == (Status.PENDING, Phase.STARTING)
    assert (story.state.tasks_ready, story.state.tasks_total, story.state.progress) == (0, 2, 0)
    story.ready(first, at=1)
    assert (story.state.status, story.state.progress) == (Status.PENDING, 50)
    story.exits(first, at=2)
    story.ready(second, at=2.1)
    assert story.state.status is Status.PENDING, "not together"
    (again,) = [order for order in story.time(3).members if order.slot == 0]
    story.ready(again.task_id, at=3)
    assert (story.state.status, story.state.phase, story.state.progress) == (Status.RUNNING, Phase.READY, 100)
    assert story.of(effects.ClaimCurrent)
    assert story.state.reason is None
    assert story.state.progress_deadline is None


def test_the_address_is_claimed_once_ready_and_not_before() -> None:
    story = Story(native())
    story.tell(events.Created())
    assert not story.of(effects.ClaimCurrent)
    story.ready(*story.started)
    assert story.of(effects.ClaimCurrent)
    assert not story.state.current
    assert story.tell(events.BecameCurrent()).current


def test_a_first_start_that_misses_its_deadline_has_failed_with_what_it_waited_for() -> None:
    story = Story(native(progress_deadline_secs=30))
    story.tell(events.Created())
    (task,) = story.started
    story.tell(events.TaskWaiting(task, Reason(code="PORTS_EXHAUSTED", message="no port is left")), 1)
    assert story.state.reason is not None
    assert story.time(29.9).status is Status.PENDING
    story.time(30)
    assert (story.state.status, story.state.goal) == (Status.FAILED, Goal.FINISHED)
    assert story.state.reason is not None
    assert story.state.reason.code == "PROGRESS_DEADLINE"
    assert "no port is left" in story.state.reason.message
    assert story.stopped == [task]


def test_a_later_start_that_misses_its_deadline_is_given_up_and_tried_again() -> None:
    story = Story.running(native(cold_start_enabled=False, progress_deadline_secs=30))
    (task,) = [member.task_id for member in story.state.members]
    story.exits(task, at=5)
    story.time(6)
    (second,) = story.state.members
    assert second.stage is Stage.STARTING
    story.time(35)
    assert second.task_id in story.stopped
    assert story.state.status is Status.RUNNING
    assert story.state.phase is Phase.BACKING_OFF
    story.time(36)
    assert story.started, "and again"


# ---- ending well ---------------------------------------------------------------------------------------------


def test_an_app_may_put_itself_to_sleep() -> None:
    story = Story.running(native(replicas=2))
    first, second = (member.task_id for member in story.state.members)
    story.exits(first, CLEAN, at=5)
    assert not story.started
    assert (story.state.phase, story.state.tasks_total) == (Phase.READY, 1)
    story.exits(second, CLEAN, at=6)
    assert (story.state.status, story.state.phase) == (Status.RUNNING, Phase.ASLEEP)
    assert not story.of(effects.FailHeld), "who is held now wakes it anew"
    story.tell(commands.Wake(by_traffic=True), 7)
    assert len(story.started) == 2


@pytest.mark.parametrize("spec", [native(cold_start_enabled=False), job()], ids=["no cold start", "job"])
def test_without_cold_start_it_has_succeeded(spec: object) -> None:
    story = Story.running(spec)  # type: ignore[arg-type]
    story.exits(story.state.members[0].task_id, CLEAN, at=5)
    assert (story.state.status, story.state.phase, story.state.reason) == (Status.SUCCEEDED, Phase.DONE, None)
    assert story.of(effects.ReleaseCurrent)
    assert not story.state.current


def test_exit_0_before_it_was_ready_counts_as_ready() -> None:
    story = Story(native())
    story.tell(events.Created())
    story.exits(*story.started, CLEAN, at=0.1)
    assert (story.state.status, story.state.phase) == (Status.RUNNING, Phase.ASLEEP)
    assert story.of(effects.ClaimCurrent)

    story = Story(job(replicas=2))
    story.tell(events.Created())
    first, second = story.started
    story.exits(first, CLEAN, at=0.1)
    assert story.state.status is Status.PENDING
    story.ready(second, at=1)
    assert (story.state.status, story.state.tasks_total) == (Status.RUNNING, 1)
    story.exits(second, CLEAN, at=2)
    assert story.state.status is Status.SUCCEEDED


def test_policy_always_restarts_what_exits_with_0() -> None:
    story = Story.running(job(restart=ALWAYS))
    story.exits(story.state.members[0].task_id, CLEAN, at=70)
    assert story.state.phase is Phase.BACKING_OFF
    story.time(70.2)
    assert story.started


# ---- scaling -------------------------------------------------------------------------------------------------


def test_scale_up_starts_and_scale_down_drains_the_newest_first() -> None:
    story = Story.running(native())
    story.tell(commands.Change(replicas=3), 5)
    assert (story.state.generation, story.state.observed_generation, story.state.phase) == (
        2,
        1,
        Phase.UPDATING,
    )
    second, third = story.started
    story.ready(second, third, at=6)
    assert (story.state.observed_generation, story.state.phase) == (2, Phase.READY)
    story.tell(commands.Change(replicas=2), 7)
    assert story.stopped == [third]
    assert story.of(effects.StopTask)[0].drain == timedelta(seconds=30)
    assert (story.state.tasks_ready, story.state.tasks_total) == (2, 2)
    assert story.state.observed_generation == 3


def test_scale_to_what_it_is_changes_nothing() -> None:
    story = Story.running(native(replicas=2))
    before = story.state
    assert story.tell(commands.Change(replicas=2)) is before


def test_scale_to_zero_sleeps_and_a_wake_starts_the_last_number() -> None:
    story = Story.running(native(replicas=2))
    members = [member.task_id for member in story.state.members]
    story.tell(commands.Change(replicas=0), 5)
    assert (story.state.phase, story.state.tasks_total, story.state.progress) == (Phase.DRAINING, 0, 100)
    story.ends(*members, at=6)
    assert (story.state.status, story.state.phase) == (Status.RUNNING, Phase.ASLEEP)
    story.tell(commands.Wake(by_traffic=True), 7)
    assert len(story.started) == 2
    assert story.state.spec.replicas == 0


def test_scaled_while_asleep_it_wakes() -> None:
    story = Story.asleep(native())
    story.tell(commands.Change(replicas=3), 7)
    assert (story.state.phase, len(story.started), story.state.target) == (Phase.WAKING, 3, 3)


def test_a_scale_while_awake_starts_the_replicas_a_wake_left_out() -> None:
    story = Story.asleep(native(replicas=3, wake=WakePolicy(replicas=1)))
    story.tell(commands.Wake(by_traffic=True), 7)
    assert (len(story.started), story.state.tasks_total) == (1, 1)
    story.tell(commands.Change(replicas=3), 8)
    assert len(story.started) == 2


def test_stored_awake_with_no_replicas_by_an_earlier_release_it_runs_asleep_with_the_address() -> None:
    story = Story(native(replicas=0))
    story.tell(events.Recovered(()))
    assert story.of(effects.ClaimCurrent)
    assert (story.state.status, story.state.phase) == (Status.RUNNING, Phase.ASLEEP)
    story.tell(commands.Wake(by_traffic=True), 1)
    assert len(story.started) == 1


def test_several_replicas_on_a_fixed_native_port_are_refused() -> None:
    story = Story.running(native(networking=Networking(port=8080)))
    with pytest.raises(Invalid) as refused:
        story.tell(commands.Change(replicas=2))
    assert [fault.pointer for fault in refused.value.faults] == ["/spec/replicas"]


def test_what_waits_for_its_build_only_takes_note() -> None:
    story = Story(native(artifact_id=None))
    story.tell(commands.Change(replicas=3))
    assert (story.state.phase, story.state.target, story.effects) == (Phase.WAITING_FOR_BUILD, 3, ())
    assert story.state.next_deadline is None
    story.tell(commands.Change(replicas=0))
    assert (story.state.phase, story.state.status) == (Phase.WAITING_FOR_BUILD, Status.PENDING)


# ---- cancelling ----------------------------------------------------------------------------------------------


def test_cancel_drains_and_gives_the_address_back() -> None:
    story = Story.running(native())
    (task,) = [member.task_id for member in story.state.members]
    story.tell(commands.Cancel(), 5)
    assert (story.state.status, story.state.phase, story.state.current) == (
        Status.CANCELLED,
        Phase.DRAINING,
        False,
    )
    assert story.of(effects.ReleaseCurrent)
    assert story.stopped == [task]
    story.ends(task, at=6)
    assert story.state.phase is Phase.DONE


def test_cancelled_twice_it_is_the_same_object() -> None:
    story = Story.running(native())
    cancelled = story.tell(commands.Cancel())
    assert story.tell(commands.Cancel()) is cancelled
    assert story.effects == ()


@pytest.mark.parametrize(
    "command", [commands.Cancel(), commands.Change(replicas=2), commands.Sleep(), commands.Wake()]
)
def test_what_has_ended_takes_no_commands(command: object) -> None:
    story = Story.running(job())
    story.exits(story.state.members[0].task_id, CLEAN, at=5)
    with pytest.raises(InvalidState, match="has succeeded and cannot be"):
        story.tell(command)


def test_an_address_won_too_late_is_given_back() -> None:
    story = Story(native())
    story.tell(events.Created())
    story.ready(*story.started)
    story.tell(commands.Cancel())
    assert not story.of(effects.ReleaseCurrent)
    assert not story.tell(events.BecameCurrent()).current
    assert story.of(effects.ReleaseCurrent)


# ---- max runtime ---------------------------------------------------------------------------------------------


def test_max_runtime_with_cold_start_leaves_the_slot_empty_until_traffic() -> None:
    story = Story.running(native(max_runtime_secs=10))
    (task,) = [member.task_id for member in story.state.members]
    story.tell(events.TaskStopping(task, MAX_RUNTIME), 10)
    assert (story.state.status, story.state.phase, story.started) == (Status.RUNNING, Phase.DRAINING, [])
    story.exits(task, CRASH, at=11, reason=MAX_RUNTIME)
    assert (story.state.phase, story.state.reason) == (Phase.ASLEEP, MAX_RUNTIME)
    story.tell(commands.Wake(by_traffic=True), 12)
    assert len(story.started) == 1
    assert story.state.reason is None


def test_max_runtime_without_cold_start_has_failed_when_all_slots_ended() -> None:
    story = Story.running(native(replicas=2, cold_start_enabled=False))
    first, second = (member.task_id for member in story.state.members)
    story.tell(events.TaskStopping(first, MAX_RUNTIME), 10)
    assert (story.state.status, story.started) == (Status.RUNNING, [])
    story.exits(second, CLEAN, at=11)
    assert (story.state.status, story.state.reason) == (Status.FAILED, MAX_RUNTIME)


def test_max_runtime_before_it_was_ready_is_no_success() -> None:
    """Two tasks that never listen must not make each other look complete."""
    story = Story(native(replicas=2))
    story.tell(events.Created())
    first, second = story.started
    story.tell(events.TaskStopping(first, MAX_RUNTIME), 10)
    assert (story.state.status, story.stopped) == (Status.FAILED, [second])
    story.tell(events.TaskStopping(second, MAX_RUNTIME, asked=True), 10)
    assert (story.state.status, story.state.reason) == (Status.FAILED, MAX_RUNTIME)
    assert not story.of(effects.ClaimCurrent)


# ---- single tasks --------------------------------------------------------------------------------------------


def test_a_task_stopped_by_a_caller_is_replaced_at_once() -> None:
    story = Story.running(native())
    (task,) = [member.task_id for member in story.state.members]
    story.tell(
        events.TaskStopping(task, Reason(code="STOPPED", message="was stopped on request"), asked=True), 5
    )
    assert len(story.started) == 1
    assert story.state.attempt == 0
    story.ends(task, at=6)
    assert not story.started


def test_an_unhealthy_task_is_out_of_balance_and_then_replaced() -> None:
    story = Story.running(native(replicas=2))
    first, _ = (member.task_id for member in story.state.members)
    story.tell(events.TaskUnready(first), 70)
    assert (story.state.tasks_ready, story.state.phase, story.started) == (1, Phase.READY, [])
    story.ready(first, at=80)
    assert story.state.tasks_ready == 2
    story.tell(events.TaskUnready(first), 90)
    story.tell(
        events.TaskStopping(first, Reason(code="UNHEALTHY", message="failed its checks for 60 s")), 150
    )
    assert story.state.retry_at == after(150.2)
    story.time(150.2)
    assert len(story.started) == 1
    story.exits(first, CRASH, at=151, reason=Reason(code="UNHEALTHY", message="failed its checks for 60 s"))
    assert story.state.attempt == 1, "counted once"


def test_two_tasks_in_one_slot_are_one_too_many() -> None:
    story = Story.running(native())
    (task,) = [member.task_id for member in story.state.members]
    story.tell(events.Recovered((events.TaskFound(task, 0, 1), events.TaskFound("stranger", 0, 1))), 5)
    assert story.stopped == ["stranger"]


def test_a_task_nobody_knows_is_ended() -> None:
    story = Story.running(native())
    story.tell(events.TaskReady("stranger", None))
    assert story.stopped == ["stranger"]
    assert [member.task_id for member in story.state.members] == ["t0"]
