"""What fails: back-off, budget, restart policies, and what those who wait are told."""

from __future__ import annotations

import pytest

from platformd.domain import commands, effects, events, policy
from platformd.domain.deployment.routing import refusal
from platformd.domain.deployment.state import Phase, Status
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import Restart, RestartPolicyKind
from platformd.errors import Unavailable
from tests.domain.builders import CLEAN, CRASH, Story, after, job, native

NEVER = Restart(policy=RestartPolicyKind.NEVER)
DAEMON = native(cold_start_enabled=False)


def only_task(story: Story) -> str:
    (task,) = (member.task_id for member in story.state.live)
    return task


def crash_until_spent(story: Story, at: float) -> list[float]:
    """Crashes at once after each start, five restarts long; the pauses before those."""
    pauses = []
    for _ in range(5):
        story.exits(only_task(story), at=at)
        assert story.state.retry_at is not None
        pause = (story.state.retry_at - after(at)).total_seconds()
        pauses.append(pause)
        at += pause
        story.time(at)
    return pauses


# ---- the curve -----------------------------------------------------------------------------------------------


def test_the_curve_doubles_from_a_fifth_of_a_second_to_thirty() -> None:
    plain = [policy.backoff(failures, 0.0).total_seconds() for failures in range(1, 12)]
    assert plain == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30]
    assert policy.backoff(10_000, 0.0).total_seconds() == 30


@pytest.mark.parametrize("failures", [1, 3, 8, 9, 50])
def test_jitter_spreads_by_a_fifth_and_never_beyond_the_longest(failures: int) -> None:
    plain = policy.backoff(failures, 0.0).total_seconds()
    assert policy.backoff(failures, -1.0).total_seconds() == pytest.approx(plain * 0.8)
    assert policy.backoff(failures, 1.0).total_seconds() == pytest.approx(min(30, plain * 1.2))


def test_numbers_of_the_contract() -> None:
    assert policy.DRAIN.total_seconds() == 30
    assert policy.SPENT_RETRY.total_seconds() == 30
    assert policy.GOOD_AFTER.total_seconds() == 60
    assert policy.WORKER_READY_AFTER.total_seconds() == 1
    assert policy.EXCLUSIVE_WAKE_GRACE.total_seconds() == 1


# ---- the budget ----------------------------------------------------------------------------------------------


def test_never_ready_and_out_of_restarts_it_has_failed_with_the_exit() -> None:
    story = Story(native())
    story.tell(events.Created())
    assert crash_until_spent(story, 0.1) == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2])
    assert (story.state.status, story.state.restarts) == (Status.PENDING, {0: 5})
    story.exits(only_task(story), at=10)
    assert (story.state.status, story.state.phase) == (Status.FAILED, Phase.DONE)
    reason = story.state.reason
    assert reason is not None
    assert (reason.code, reason.exit_code, reason.last_lines) == ("EXITED", 3, ("boom",))


def test_ready_before_it_is_tried_again_each_thirty_seconds() -> None:
    story = Story.running(DAEMON)
    crash_until_spent(story, 1)
    story.exits(only_task(story), at=10)
    assert (story.state.status, story.state.phase) == (Status.RUNNING, Phase.BACKING_OFF)
    assert story.state.retry_at == after(40)
    story.time(40)
    assert len(story.started) == 1


def test_ready_before_with_cold_start_it_sleeps_and_the_next_request_tries() -> None:
    story = Story.running(native())
    crash_until_spent(story, 1)
    story.exits(only_task(story), at=10)
    assert story.state.phase is Phase.BACKING_OFF
    assert story.time(100).phase is Phase.ASLEEP
    story.tell(commands.Wake(by_traffic=True), 101)
    assert len(story.started) == 1


def test_sixty_good_seconds_make_earlier_failures_good() -> None:
    story = Story.running(DAEMON)
    crash_until_spent(story, 1)
    story.ready(only_task(story), at=20)
    story.exits(only_task(story), at=79.9)
    assert story.state.attempt == 6, "not yet"
    story.time(120)
    story.ready(only_task(story), at=120)
    story.exits(only_task(story), at=180)
    assert (story.state.attempt, story.state.retry_at) == (1, after(180.2))


def test_good_seconds_that_ended_in_sleep_count_too() -> None:
    story = Story.running(native())
    story.exits(only_task(story), at=1)
    story.time(2)
    story.ready(only_task(story), at=2)
    assert story.state.attempt == 1
    story.tell(commands.Sleep(), 70)
    assert story.state.attempt == 0


def test_a_good_neighbour_makes_nothing_good() -> None:
    """One slot that crashes for ever must not restart each 0.2 s because the other one is fine."""
    story = Story.running(native(replicas=2, cold_start_enabled=False))
    _, second = (member.task_id for member in story.state.members)
    at = 100.0
    for expected in (0.2, 0.4, 0.8, 1.6):
        story.exits(second, at=at)
        assert story.state.retry_at is not None
        assert (story.state.retry_at - after(at)).total_seconds() == pytest.approx(expected)
        at = (story.state.retry_at - after(0)).total_seconds()
        story.time(at)
        (second,) = story.started
    assert story.state.attempt == 4


def test_several_tasks_that_fail_before_the_next_start_are_one_failure() -> None:
    story = Story(native(replicas=3))
    story.tell(events.Created())
    for task in story.started:
        story.exits(task, at=1)
    assert (story.state.attempt, len(story.state.failures)) == (1, 1)
    assert story.state.retry_at == after(1.2)
    assert story.state.restarts == {0: 1, 1: 1, 2: 1}
    story.time(1.2)
    assert len(story.started) == 3


def test_failures_outside_the_window_do_not_count() -> None:
    story = Story(native(restart=Restart(max_attempts=1, window_secs=10)))
    story.tell(events.Created())
    story.exits(only_task(story), at=1)
    story.time(2)
    story.exits(only_task(story), at=20)
    assert story.state.status is Status.PENDING
    story.time(21)
    story.exits(only_task(story), at=22)
    assert story.state.status is Status.FAILED


# ---- policies ------------------------------------------------------------------------------------------------


def test_policy_never_before_it_was_ready_has_failed() -> None:
    story = Story(native(restart=NEVER))
    story.tell(events.Created())
    story.exits(*story.started, at=1)
    assert story.state.status is Status.FAILED


def test_policy_never_leaves_the_slot_empty() -> None:
    story = Story.running(native(replicas=2, restart=NEVER))
    first, second = (member.task_id for member in story.state.members)
    story.exits(first, at=1)
    assert (story.state.phase, story.state.tasks_total, story.started) == (Phase.READY, 1, [])
    story.exits(second, at=2)
    assert (story.state.status, story.state.phase) == (Status.RUNNING, Phase.BACKING_OFF)
    assert story.time(3).phase is Phase.ASLEEP


def test_policy_never_without_cold_start_has_failed_with_the_last_slot() -> None:
    story = Story.running(job(restart=NEVER))
    story.exits(only_task(story), at=1)
    assert (story.state.status, story.state.phase) == (Status.FAILED, Phase.DONE)


def test_what_cannot_begin_has_failed_at_once_unless_it_once_ran() -> None:
    reason = Reason(code="ENOEXEC", message="cannot be executed: exec format error")
    story = Story(native(replicas=2))
    story.tell(events.Created())
    story.exits(story.started[0], Exit(), at=0.1, reason=reason)
    assert (story.state.status, story.state.reason) == (Status.FAILED, reason)

    story = Story.running(DAEMON)
    story.exits(only_task(story), at=1)
    story.time(2)
    story.exits(only_task(story), Exit(), at=2, reason=reason)
    assert (story.state.status, story.state.phase) == (Status.RUNNING, Phase.BACKING_OFF)


@pytest.mark.parametrize(
    ("exit", "code", "words"),
    [
        (Exit(code=3), "EXITED", "exited with code 3"),
        (Exit(signal="SIGSEGV"), "KILLED_BY_SIGNAL", "SIGSEGV"),
        (Exit(signal="SIGKILL", oom_killed=True), "OOM_KILLED", "limit of 128Mi; raise resources.memory"),
        (Exit(unknown=True), "EXIT_UNKNOWN", "nobody was there"),
    ],
)
def test_every_exit_is_explained(exit: Exit, code: str, words: str) -> None:
    story = Story.running(DAEMON)
    story.exits(only_task(story), exit, at=1)
    reason = story.state.reason
    assert reason is not None
    assert reason.code == code
    assert words in reason.message
    (line,) = story.of(effects.SystemLine)
    assert words in line.text
    assert "next try in 0.2 s" in line.text


# ---- those who wait ------------------------------------------------------------------------------------------


def test_the_last_waking_task_that_crashes_fails_the_held_at_once() -> None:
    story = Story.asleep(native(replicas=2))
    story.tell(commands.Wake(by_traffic=True), 5)
    first, second = story.started
    story.exits(first, at=5.1)
    assert not story.of(effects.FailHeld), "the other may still come"
    story.time(5.2)
    story.exits(second, at=5.2)
    (answer,) = story.of(effects.FailHeld)
    assert (answer.status, answer.code) == (502, "WAKE_CRASHED")
    assert answer.reason == Reason(
        code="EXITED", message="exited with code 3", exit_code=3, last_lines=("boom",)
    )
    assert story.state.phase is Phase.BACKING_OFF


def test_while_it_backs_off_requests_are_refused_and_then_wake_it() -> None:
    story = Story.asleep(native())
    story.tell(commands.Wake(by_traffic=True), 5)
    story.exits(*story.started, at=5.1)
    refused = refusal(story.state)
    assert refused is not None
    assert (refused.status, refused.code, refused.retry_at) == (503, "BACKING_OFF", after(5.3))
    story.tell(commands.Wake(by_traffic=True), 5.2)
    assert [answer.code for answer in story.of(effects.FailHeld)] == ["BACKING_OFF"]
    with pytest.raises(Unavailable) as told:
        story.tell(commands.Wake(), 5.2)
    assert (told.value.code, told.value.retry_after) == ("BACKING_OFF", 1)
    assert story.time(5.3).phase is Phase.ASLEEP
    assert refusal(story.state) is None
    story.tell(commands.Wake(by_traffic=True), 5.4)
    assert len(story.started) == 1


def test_a_request_just_before_the_timer_of_a_pause_that_is_over_wakes_it() -> None:
    story = Story.asleep(native())
    story.tell(commands.Wake(by_traffic=True), 5)
    story.exits(*story.started, at=5.1)
    story.tell(commands.Wake(by_traffic=True), 5.3)
    assert (story.state.phase, len(story.started)) == (Phase.WAKING, 1)


def test_pauses_grow_from_wake_to_wake() -> None:
    story = Story.asleep(native())
    pauses = []
    for at in (10, 20, 30):
        story.tell(commands.Wake(by_traffic=True), at)
        story.exits(*story.started, at=at + 1)
        assert story.state.retry_at is not None
        pauses.append((story.state.retry_at - after(at + 1)).total_seconds())
        story.time(at + 5)
    assert pauses == pytest.approx([0.2, 0.4, 0.8])


def test_a_crash_while_others_serve_fails_nobody() -> None:
    story = Story.asleep(native(replicas=2))
    story.tell(commands.Wake(by_traffic=True), 5)
    first, second = story.started
    story.ready(first, at=6)
    story.exits(second, at=7)
    assert (story.of(effects.FailHeld), story.state.phase) == ([], Phase.READY)
    assert refusal(story.state) is None
    story.time(7.2)
    assert [order.slot for order in story.of(effects.StartTask)] == [1]


def test_an_app_that_exits_with_0_while_waking_fails_the_held() -> None:
    story = Story.asleep(native())
    story.tell(commands.Wake(by_traffic=True), 5)
    story.exits(*story.started, CLEAN, at=5.1)
    assert [answer.code for answer in story.of(effects.FailHeld)] == ["WAKE_CRASHED"]
    assert story.state.phase is Phase.ASLEEP


def test_requests_behind_an_unready_task_hear_of_its_end() -> None:
    """They were held once it was out of balance, and their wake was of no use then."""
    story = Story.running(native())
    task = only_task(story)
    story.tell(events.TaskUnready(task), 5)
    story.tell(commands.Wake(by_traffic=True), 6)
    story.exits(task, CLEAN, at=7)
    assert story.of(effects.FailHeld)
    assert story.state.phase is Phase.ASLEEP


def test_a_crash_of_what_was_asked_to_stop_is_no_failure() -> None:
    story = Story.running(native())
    task = only_task(story)
    story.tell(commands.Sleep(), 5)
    story.exits(task, CRASH, at=5.1)
    assert (story.state.phase, story.state.attempt, story.of(effects.FailHeld)) == (Phase.ASLEEP, 0, [])
