"""Falling asleep and waking up: exactness, the race with a request, time-outs, exclusive stops."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from platformd.domain import commands, effects, events
from platformd.domain.deployment.routing import refusal, routing
from platformd.domain.deployment.state import Goal, Phase, Stage, Status
from platformd.domain.snapshot import Reason
from platformd.domain.spec import Networking, StopPolicy, WakePolicy
from platformd.errors import InvalidState, Unavailable
from tests.domain.builders import ADDRESS, Story, after, job, native

QUICK = native(idle_timeout_secs=10)


def closed(story: Story, at: float) -> None:
    """The gateway found it idle."""
    story.time(at)
    assert story.of(effects.CloseIdle)
    story.tell(events.IdleClosed())


# ---- idle ----------------------------------------------------------------------------------------------------


def test_idle_from_when_it_was_ready() -> None:
    story = Story.running(QUICK, at=3)
    assert story.state.idle_deadline == after(13)
    assert story.time(12.999).phase is Phase.READY
    assert not story.effects
    story.time(13)
    assert story.of(effects.CloseIdle) == [effects.CloseIdle(after(3), ("t0",))]
    assert story.state.phase is Phase.READY, "the gateway decides"


def test_idle_from_the_end_of_the_last_activity_exactly() -> None:
    story = Story.running(QUICK)
    story.tell(events.WentQuiet(after(7.25)), 8.25)
    assert story.state.idle_deadline == after(17.25)
    story.time(17.25)
    assert story.of(effects.CloseIdle) == [effects.CloseIdle(after(7.25), ("t0",))]


def test_what_the_gateway_closed_falls_asleep() -> None:
    """Draining as ever: should a gateway made anew have opened it again, requests still end well."""
    story = Story.running(QUICK)
    closed(story, 10)
    assert [order.drain for order in story.of(effects.StopTask)] == [timedelta(seconds=30)]
    assert story.state.phase is Phase.DRAINING
    assert story.ends("t0", at=11).phase is Phase.ASLEEP
    assert story.state.next_deadline is None
    assert (story.state.tasks_total, story.state.progress) == (0, 100)


def test_a_busy_deployment_stays_awake_and_is_asked_again() -> None:
    story = Story.running(QUICK)
    story.time(10)
    story.tell(events.IdleRefused(), 10.001)
    assert (story.state.phase, story.state.idle_deadline) == (Phase.READY, after(20.001))
    story.tell(events.WentQuiet(after(12)), 13)
    assert story.state.idle_deadline == after(22), "and then it is exact again"


def test_without_an_answer_the_gateway_is_asked_again() -> None:
    story = Story.running(QUICK)
    story.time(10)
    story.time(15)
    assert story.of(effects.CloseIdle) == [effects.CloseIdle(after(0), ("t0",))]


def test_quiet_that_was_reported_before_the_question_does_not_confuse_the_answer() -> None:
    story = Story.running(QUICK)
    story.time(10)
    story.tell(events.WentQuiet(after(-5)), 10.001)
    assert story.tell(events.IdleClosed()).goal is Goal.ASLEEP


def test_a_newer_activity_voids_the_question() -> None:
    story = Story.running(QUICK)
    story.time(10)
    story.tell(events.WentQuiet(after(9.5)), 10.5)
    assert story.state.idle_deadline == after(19.5)
    assert story.tell(events.IdleRefused()).idle_deadline == after(19.5)


def test_an_answer_after_other_tasks_became_ready_is_void() -> None:
    """Telling the gateway of them has opened everything again: requests may be in flight."""
    story = Story.running(QUICK)
    story.tell(commands.Change(replicas=2), 5)
    (second,) = story.started
    story.time(10)
    story.ready(second, at=10.001)
    story.tell(events.IdleClosed(), 10.002)
    assert (story.state.phase, story.stopped) == (Phase.READY, [])


def test_an_answer_that_comes_after_a_wake_is_void() -> None:
    story = Story.running(QUICK)
    story.time(10)
    story.tell(commands.Sleep(), 10.001)
    story.tell(commands.Wake(by_traffic=True), 10.002)
    assert story.tell(events.IdleClosed(), 10.003).phase is Phase.WAKING


def test_activity_before_the_last_sleep_does_not_shorten_this_day() -> None:
    story = Story.asleep(QUICK)
    story.tell(commands.Wake(), 100)
    story.ready(*story.started, at=101)
    story.tell(events.WentQuiet(after(50)), 102)
    assert story.state.idle_deadline == after(111)


def test_not_before_it_ran() -> None:
    """A first start that is only half ready does not fall asleep."""
    story = Story(native(replicas=2, idle_timeout_secs=1))
    story.tell(events.Created())
    story.ready(story.started[0], at=1)
    story.time(100)
    assert (story.state.status, story.of(effects.CloseIdle)) == (Status.PENDING, [])


def test_an_idle_deadline_that_passes_while_it_restarts_starts_anew() -> None:
    story = Story.running(QUICK)
    story.exits("t0", at=9.5)
    story.time(10.2)
    (task,) = [member.task_id for member in story.state.members]
    assert story.state.phase is Phase.STARTING
    story.ready(task, at=11)
    assert story.state.idle_deadline == after(21)
    closed(story, 21)
    assert story.state.goal is Goal.ASLEEP


def test_idle_while_it_backs_off_it_sleeps() -> None:
    story = Story.running(native(idle_timeout_secs=10))
    story.tell(events.TaskStopping("t0", Reason(code="UNHEALTHY", message="failed")), 9.9)
    story.time(10)
    assert story.state.goal is Goal.ASLEEP
    story.ends("t0", at=10.05)
    assert story.state.phase is Phase.BACKING_OFF
    assert story.time(10.1).phase is Phase.ASLEEP


@pytest.mark.parametrize("spec", [native(cold_start_enabled=False), job()], ids=["no cold start", "job"])
def test_what_no_request_can_wake_never_falls_asleep(spec: object) -> None:
    story = Story.running(spec)  # type: ignore[arg-type]
    assert story.state.next_deadline is None
    story.tell(events.WentQuiet(after(1)), 2)
    assert story.state.next_deadline is None


# ---- waking --------------------------------------------------------------------------------------------------


def test_one_wake_for_any_number_of_requests() -> None:
    story = Story.asleep(native(replicas=2))
    assert refusal(story.state) is None
    story.tell(commands.Wake(by_traffic=True), 5)
    assert (story.state.phase, len(story.started)) == (Phase.WAKING, 2)
    story.tell(commands.Wake(by_traffic=True), 5.1)
    assert story.effects == ()


def test_released_at_the_first_that_is_ready() -> None:
    story = Story.asleep(native(replicas=2))
    story.tell(commands.Wake(by_traffic=True), 5)
    first, second = story.started
    assert story.ready(second, at=6).phase is Phase.READY
    assert [target.task_id for target in routing(story.state).targets] == [second]
    assert story.state.wake_deadline is None
    story.ready(first, at=7)
    assert [target.task_id for target in routing(story.state).targets] == [first, second]
    assert story.state.progress_deadline is None


def test_wake_replicas() -> None:
    story = Story.asleep(native(replicas=3, wake=WakePolicy(replicas=2)))
    story.tell(commands.Wake(by_traffic=True), 5)
    assert (len(story.started), story.state.tasks_total) == (2, 2)
    more_than_there_are = Story.asleep(native(replicas=1, wake=WakePolicy(replicas=5)))
    more_than_there_are.tell(commands.Wake(by_traffic=True), 5)
    assert len(more_than_there_are.started) == 1


def test_a_wake_that_takes_too_long_is_given_up_and_the_next_starts_anew() -> None:
    story = Story.asleep(native(wake=WakePolicy(timeout_secs=2)))
    story.tell(commands.Wake(by_traffic=True), 5)
    (task,) = story.started
    story.time(6.999)
    assert not story.of(effects.FailHeld)
    story.time(7)
    (answer,) = story.of(effects.FailHeld)
    assert (answer.status, answer.code, answer.phase) == (504, "WAKE_TIMEOUT", "waking")
    assert "waking" in answer.detail
    assert story.stopped == [task]
    story.tell(commands.Wake(by_traffic=True), 7.1)
    assert len(story.started) == 1, "beside the ending one"
    assert story.state.reason is None


def test_a_wake_that_waits_for_a_port_says_so() -> None:
    story = Story.asleep(native(wake=WakePolicy(timeout_secs=2)))
    story.tell(commands.Wake(by_traffic=True), 5)
    story.tell(
        events.TaskWaiting(*story.started, Reason(code="PORTS_EXHAUSTED", message="no port is left")), 6
    )
    story.time(7)
    assert "no port is left" in story.of(effects.FailHeld)[0].detail


def test_without_cold_start_a_request_wakes_nothing_but_a_caller_may() -> None:
    story = Story.asleep(native(cold_start_enabled=False))
    refused = refusal(story.state)
    assert refused is not None
    assert (refused.status, refused.code) == (503, "ASLEEP")
    story.tell(commands.Wake(by_traffic=True), 5)
    assert story.started == []
    assert [answer.code for answer in story.of(effects.FailHeld)] == ["ASLEEP"]
    assert story.tell(commands.Wake(), 6).phase is Phase.STARTING
    assert story.state.wake_deadline is None, "nobody waits: the progress deadline holds"
    assert story.state.progress_deadline == after(606)


# ---- the race ------------------------------------------------------------------------------------------------


def test_a_request_while_it_ends_starts_a_new_task_beside() -> None:
    story = Story.running(QUICK)
    closed(story, 10)
    story.tell(commands.Wake(by_traffic=True), 10.1)
    assert story.state.phase is Phase.WAKING
    assert (len(story.started), story.stopped) == (1, [])
    (new,) = story.started
    story.ready(new, at=10.2)
    story.ends("t0", at=11)
    assert (story.state.phase, story.state.tasks_ready) == (Phase.READY, 1)


@pytest.mark.parametrize(
    "spec",
    [
        native(stop=StopPolicy(exclusive=True), idle_timeout_secs=10),
        native(networking=Networking(port=8080), idle_timeout_secs=10),
    ],
    ids=["stop.exclusive", "fixed port"],
)
def test_where_two_cannot_be_side_by_side_it_waits_and_cuts_the_grace(spec: object) -> None:
    story = Story.running(spec)  # type: ignore[arg-type]
    closed(story, 10)
    story.tell(commands.Wake(by_traffic=True), 10.1)
    assert story.state.phase is Phase.WAKING
    assert not story.started
    assert [(order.task_id, order.grace) for order in story.of(effects.StopTask)] == [
        ("t0", timedelta(seconds=1))
    ]
    story.tell(events.TaskExited("t0", events.Exit(signal="SIGTERM"), asked=True), 10.2)
    assert not story.started, "what it started may still hold the port"
    story.tell(events.TaskEnded("t0"), 10.3)
    assert len(story.started) == 1


# ---- asked to ------------------------------------------------------------------------------------------------


def test_put_to_sleep_it_drains() -> None:
    story = Story.running(native())
    story.tell(commands.Sleep(), 5)
    assert [order.drain for order in story.of(effects.StopTask)] == [timedelta(seconds=30)]
    assert story.state.phase is Phase.DRAINING
    assert not story.of(effects.FailHeld)


def test_put_to_sleep_while_it_wakes_the_held_are_answered() -> None:
    """Nothing would come for them, and the gateway asks only once."""
    story = Story.asleep(native())
    story.tell(commands.Wake(by_traffic=True), 5)
    story.tell(commands.Sleep(), 6)
    assert [(answer.status, answer.code) for answer in story.of(effects.FailHeld)] == [(503, "ASLEEP")]


def test_what_never_ran_cannot_sleep_and_a_job_neither() -> None:
    pending = Story(native())
    pending.tell(events.Created())
    with pytest.raises(InvalidState, match="never been ready"):
        pending.tell(commands.Sleep())
    with pytest.raises(InvalidState, match="protocol none"):
        Story.running(job()).tell(commands.Sleep())


def test_a_quarantined_one_takes_no_commands_and_refuses_requests() -> None:
    story = Story.running(native())
    story.state = replace(story.state, phase=Phase.QUARANTINED)
    for command in (commands.Change(replicas=2), commands.Cancel(), commands.Sleep(), commands.Wake()):
        with pytest.raises(Unavailable, match="quarantined; resume it first"):
            story.tell(command)
    story.tell(commands.Wake(by_traffic=True))
    assert [answer.code for answer in story.of(effects.FailHeld)] == ["NO_DEPLOYMENT"]
    assert story.state.next_deadline is None
    assert story.tell(events.Recovered((events.TaskFound("t0", 0, 1),))).phase is Phase.READY


# ---- addresses of tasks --------------------------------------------------------------------------------------


def test_only_ready_tasks_are_in_the_balance() -> None:
    story = Story.running(native(replicas=2))
    assert [(target.host, target.port) for target in routing(story.state).targets] == [ADDRESS, ADDRESS]
    story.tell(events.TaskUnready("t0"), 5)
    assert [target.task_id for target in routing(story.state).targets] == ["t1"]
    story.tell(events.TaskStopping("t1", Reason(code="STOPPED", message="on request"), asked=True), 6)
    assert routing(story.state).targets == ()
    assert refusal(story.state) is None, "a new one is coming"
    assert [member.stage for member in story.state.members] == [
        Stage.STARTING,
        Stage.STOPPING,
        Stage.STARTING,
    ]
