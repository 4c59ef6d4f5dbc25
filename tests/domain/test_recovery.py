"""A deployment made anew: members that are missing, unknown, doubled or have ended meanwhile; a restarted host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from platformd.domain import commands, effects, events
from platformd.domain.deployment.routing import routing
from platformd.domain.deployment.state import Phase, Stage, Status
from platformd.domain.events import Recovered, TaskExited, TaskFound, TaskStopping
from platformd.domain.snapshot import Reason
from tests.domain.builders import CLEAN, CRASH, Story, after, job, native

T0 = TaskFound("t0", 0, 1)


def test_nothing_happened_nothing_changes() -> None:
    story = Story.running(native(idle_timeout_secs=10))
    before = story.state
    assert story.tell(Recovered((T0,)), 5) is before
    assert story.effects == (effects.AskTask("t0"),)
    assert story.state.idle_deadline == after(10), "no deadline moves"


def test_a_missing_task_is_started_anew() -> None:
    story = Story.running(native(replicas=2))
    story.tell(Recovered((T0,)), 5)
    assert [(order.slot, order.task_id) for order in story.of(effects.StartTask)] == [(1, "t2")]


def test_a_job_that_is_done_is_not_done_again() -> None:
    """Its end is in the task's row, but the deployment had not been saved."""
    story = Story.running(job())
    story.tell(Recovered((), ended=(TaskExited("t0", CLEAN),)), 5)
    assert (story.state.status, story.started) == (Status.SUCCEEDED, [])


def test_a_crash_that_was_missed_backs_off_as_ever() -> None:
    story = Story.running(native())
    story.tell(Recovered((), ended=(TaskExited("t0", CRASH),)), 5)
    assert (story.state.phase, story.state.retry_at) == (Phase.BACKING_OFF, after(5.2))


def test_an_unknown_task_of_a_sleeping_deployment_was_a_wake_whose_row_is_lost() -> None:
    story = Story.asleep(native())
    story.tell(Recovered((TaskFound("t7", 0, 1),)), 5)
    assert (story.state.phase, story.started, story.stopped) == (Phase.WAKING, [], [])
    assert story.ready("t7").phase is Phase.READY


def test_a_task_that_was_ending_wakes_nobody() -> None:
    story = Story.asleep(native())
    story.tell(Recovered((TaskFound("t7", 0, 1, stopping=True),)), 5)
    assert (story.state.phase, story.stopped) == (Phase.DRAINING, ["t7"])
    assert story.ends("t7", at=6).phase is Phase.ASLEEP


def test_a_task_whose_end_has_begun_is_not_served_again() -> None:
    """Its row was durable before its deployment's."""
    story = Story.running(native(replicas=2))
    unhealthy = Reason(code="UNHEALTHY", message="failed its health checks for 60 s")
    found = (TaskFound("t0", 0, 1, stopping=True), TaskFound("t1", 1, 1))
    story.tell(Recovered(found, ended=(TaskStopping("t0", unhealthy),)), 5)
    assert [target.task_id for target in routing(story.state).targets] == ["t1"]
    assert (story.state.reason, story.state.restarts) == (unhealthy, {0: 1})


def test_an_unknown_task_of_a_finished_deployment_is_ended() -> None:
    story = Story.running(native())
    story.tell(commands.Cancel())
    story.ends("t0", at=1)
    assert story.tell(Recovered((TaskFound("t7", 0, 1),)), 5).phase is Phase.DRAINING
    assert (story.stopped, story.state.status) == (["t7"], Status.CANCELLED)


def test_an_unknown_task_in_a_resting_slot_is_welcome() -> None:
    story = Story.running(native(replicas=2))
    story.exits("t0", CLEAN, at=1)
    assert story.state.tasks_total == 1
    story.tell(Recovered((TaskFound("t1", 1, 1), TaskFound("t7", 0, 1))), 5)
    assert (story.state.tasks_total, story.started, story.stopped) == (2, [], [])


def test_a_stop_that_may_be_lost_is_ordered_again() -> None:
    story = Story.running(native())
    story.tell(commands.Sleep(), 5)
    story.tell(Recovered((T0,)), 6)
    assert story.stopped == ["t0"]
    assert story.state.phase is Phase.DRAINING


def test_a_question_to_the_gateway_is_void() -> None:
    story = Story.running(native(idle_timeout_secs=10))
    story.time(10)
    story.tell(Recovered((T0,)), 11)
    assert story.tell(events.IdleClosed()).phase is Phase.READY
    story.time(15)
    assert story.of(effects.CloseIdle), "it is asked again"


def test_an_address_that_was_never_won_is_claimed_again() -> None:
    story = Story(native())
    story.tell(events.Created())
    story.ready("t0")
    story.tell(Recovered((T0,)))
    assert story.of(effects.ClaimCurrent)
    story.tell(events.BecameCurrent())
    story.tell(Recovered((T0,)))
    assert not story.of(effects.ClaimCurrent)


def test_after_a_reboot_what_was_awake_starts_again_and_says_why() -> None:
    story = Story.running(native(replicas=2))
    story.tell(Recovered((), host_restarted=True), 5)
    assert len(story.started) == 2
    assert story.state.reason is not None
    assert story.state.reason.code == "HOST_RESTARTED"
    assert story.state.attempt == 0
    story.ready(*story.started, at=6)
    assert story.state.reason is None


def test_after_a_reboot_what_slept_stays_asleep() -> None:
    story = Story.asleep(native())
    before = story.state
    assert story.tell(Recovered((), host_restarted=True), 5) is before


def test_one_created_after_the_reboot_was_not_restarted() -> None:
    story = Story(native())
    story.tell(Recovered((), host_restarted=True))
    assert story.state.reason is None
    assert len(story.started) == 1


@pytest.mark.parametrize("spec", [native(), native(artifact_id=None)], ids=["runs", "waits for its build"])
def test_resumed_from_quarantine_it_goes_on_where_it_was(spec: object) -> None:
    story = Story(spec)  # type: ignore[arg-type]
    story.tell(events.Created())
    before = story.state.phase
    reason = Reason(code="QUARANTINED", message="its actor failed too often")
    story.state = replace(story.state, phase=Phase.QUARANTINED, reason=reason)
    found = tuple(TaskFound(member.task_id, member.slot, 1) for member in story.state.members)
    story.tell(Recovered(found), 5)
    assert (story.state.phase, story.state.reason) == (before, None)


def test_one_that_waits_for_its_port_asks_whether_it_may_have_it_back() -> None:
    story = Story.asleep(native())
    story.state = replace(story.state, yielded_to="newer")
    story.tell(Recovered(()), 5)
    assert story.of(effects.AskForReturn) == [effects.AskForReturn("newer")]


def test_an_end_whose_exit_was_never_heard_is_asked_for() -> None:
    """A job that is done would be done again."""
    story = Story.running(job())
    story.tell(events.TaskEnded("t0"), 5)
    assert story.effects == (effects.AskTask("t0"),)
    assert story.exits("t0", CLEAN).status is Status.SUCCEEDED


def test_doubled_tasks_the_ready_one_stays() -> None:
    story = Story.running(native())
    story.tell(Recovered((TaskFound("a", 0, 1), T0)), 5)
    assert story.stopped == ["a"]
    assert [member.task_id for member in story.state.in_stage(Stage.READY)] == ["t0"]
