"""A task: coming to life, health, the steps of its end, the races between them, and taking it up again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from platformd.domain import commands, effects, events
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import StopPolicy
from platformd.domain.task import StopStage, TaskPhase
from platformd.domain.task.transitions import pursue
from tests.domain.builders import ADDRESS, CLEAN, CRASH, START, TaskStory, after, job, native

ASLEEP = Reason(code="ASLEEP", message="the deployment went to sleep")
PORT = Reason(code="PORT_IN_USE", message="port 8080 is held by nginx")
DRAIN = timedelta(seconds=30)
TERMINATED = Exit(signal="SIGTERM")


def kinds(values: Any) -> list[str]:
    return [type(value).__name__ for value in values]


def test_from_pending_to_running() -> None:
    story = TaskStory()
    assert story.tell(commands.Launch()).phase is TaskPhase.PENDING
    assert story.effects == (effects.LaunchTask(),)
    story.tell(events.Launched({"pid": 7}, after(1), pid=7, address=ADDRESS), 1)
    assert (story.state.phase, story.state.started_at, story.state.pid) == (TaskPhase.STARTING, after(1), 7)
    story.tell(events.Probed(ADDRESS), 2)
    assert (story.state.phase, story.state.ready_at) == (TaskPhase.RUNNING, after(2))
    assert story.reports == [events.TaskReady("t", ADDRESS)]


def test_it_waits_for_a_port_and_tries_again() -> None:
    story = TaskStory()
    story.tell(commands.Launch())
    story.tell(events.LaunchWaits(PORT), 1)
    assert (story.state.phase, story.state.reason) == (TaskPhase.PENDING, PORT)
    assert story.reports == [events.TaskWaiting("t", PORT)]
    story.time(1.9)
    assert story.effects == ()
    story.time(2)
    assert story.effects == (effects.LaunchTask(),)
    story.tell(events.Launched({}, after(3)), 3)
    assert story.state.reason is None


def test_what_cannot_start_has_failed() -> None:
    story = TaskStory()
    story.tell(commands.Launch())
    reason = Reason(code="ENOEXEC", message="exec format error")
    assert story.tell(events.LaunchFailed(reason)).phase is TaskPhase.FAILED
    assert story.reports == [events.TaskExited("t", Exit(), False, reason), events.TaskEnded("t")]
    assert story.effects == (effects.Forget(),)


def test_stop_closes_signals_and_sweeps() -> None:
    story = TaskStory.running()
    story.tell(commands.Stop(ASLEEP, DRAIN), 10)
    assert (story.state.phase, story.state.stop_stage) == (TaskPhase.STOPPING, StopStage.CLOSING)
    assert story.effects == (effects.CloseInGateway(DRAIN),)
    story.tell(events.Closed(), 11)
    assert story.effects == (effects.Signal("SIGTERM"),)
    story.tell(events.Exited(TERMINATED), 12)
    assert story.effects == (effects.Sweep(),)
    assert story.tell(events.Swept(), 13).phase is TaskPhase.STOPPED
    assert story.effects == (effects.Forget(),)
    assert story.reports[1:] == [
        events.TaskStopping("t", ASLEEP, asked=True),
        events.TaskExited("t", TERMINATED, True, ASLEEP),
        events.TaskEnded("t"),
    ]


def test_what_the_gateway_has_closed_already_is_signalled_at_once() -> None:
    story = TaskStory.running()
    story.tell(commands.Stop(ASLEEP), 10)
    assert story.effects == (effects.Signal("SIGTERM"),)


def test_what_serves_nobody_has_nothing_to_drain() -> None:
    story = TaskStory.running(job())
    story.tell(commands.Stop(ASLEEP, DRAIN), 10)
    assert story.effects == (effects.Signal("SIGTERM"),)


def test_the_gateway_may_have_opened_what_is_not_known_to_be_ready() -> None:
    story = TaskStory()
    story.tell(events.Launched({}, START))
    story.tell(commands.Stop(ASLEEP, DRAIN), 10)
    assert story.effects == (effects.CloseInGateway(DRAIN),)
    story.tell(events.Closed(), 11)
    assert story.effects == (effects.Signal("SIGTERM"),)


def test_a_gateway_that_does_not_answer_holds_nothing_up_for_ever() -> None:
    story = TaskStory.running()
    story.tell(commands.Stop(ASLEEP, DRAIN), 10)
    story.time(41.9)
    assert story.effects == ()
    story.time(42)
    assert story.effects == (effects.Signal("SIGTERM"),)


def test_what_ignores_the_signal_is_killed_after_its_grace() -> None:
    story = TaskStory.running(native(stop=StopPolicy(signal="SIGINT", grace_secs=3)))
    story.tell(commands.Stop(ASLEEP), 10)
    assert story.effects == (effects.Signal("SIGINT"),)
    story.time(12.9)
    assert story.effects == ()
    story.time(13)
    assert story.effects == (effects.Kill(),)
    story.tell(events.Exited(Exit(signal="SIGKILL")), 13.1)
    assert story.tell(events.Swept()).phase is TaskPhase.STOPPED


def test_a_kill_nobody_confirms_ends_as_unknown_and_is_swept_until_it_is_done() -> None:
    story = TaskStory.running(native(stop=StopPolicy(grace_secs=0)))
    story.tell(commands.Stop(ASLEEP), 10)
    story.time(20)
    assert (story.state.exit, story.state.stop_stage) == (Exit(unknown=True), StopStage.SWEEPING)
    story.time(45)
    assert kinds(story.effects) == ["Sweep", "Sweep"]
    assert story.tell(events.Swept()).phase is TaskPhase.STOPPED


def test_a_second_stop_only_makes_it_faster() -> None:
    story = TaskStory.running()
    story.tell(commands.Stop(ASLEEP, DRAIN), 10)
    story.tell(commands.Stop(ASLEEP, DRAIN, timedelta(seconds=1)), 11)
    assert (story.effects, story.state.stop_stage) == ((), StopStage.CLOSING), (
        "requests still have their time"
    )
    story.tell(events.Closed(), 12)
    assert story.state.stop_deadline == after(13), "the grace is cut"
    story.tell(commands.Stop(ASLEEP, DRAIN, timedelta(seconds=60)), 12.1)
    assert story.state.stop_deadline == after(13)

    story = TaskStory.running(native(stop=StopPolicy(grace_secs=0.5)))
    story.tell(commands.Stop(ASLEEP, DRAIN), 10)
    story.tell(commands.Stop(ASLEEP, timedelta(0), timedelta(seconds=1)), 11)
    assert story.effects == (effects.Signal("SIGTERM"),)
    assert story.state.stop_deadline == after(11.5), "its own grace is shorter"


def test_an_exit_before_the_signal() -> None:
    story = TaskStory.running()
    story.tell(commands.Stop(ASLEEP, DRAIN), 10)
    story.tell(events.Exited(CLEAN), 11)
    assert story.effects == (effects.Sweep(),)
    story.tell(events.Closed(), 11.1)
    assert story.effects == (), "nobody is left to be signalled"


def test_stopped_by_a_caller() -> None:
    story = TaskStory.running()
    story.tell(commands.Terminate(), 10)
    assert story.state.stop_stage is StopStage.CLOSING
    assert story.reports[-1] == events.TaskStopping("t", story.state.reason or ASLEEP, asked=True)
    before = story.state
    assert story.tell(commands.Terminate()) is before


# ---- stopped before it began ---------------------------------------------------------------------------------


def test_stopped_while_its_launch_is_under_way_it_is_closed_and_signalled_once_it_is_known() -> None:
    story = TaskStory()
    story.tell(commands.Launch())
    story.tell(commands.Stop(ASLEEP, DRAIN), 1)
    assert (story.state.stop_stage, story.effects) == (StopStage.LAUNCHING, ())
    story.tell(events.Launched({"pid": 7}, after(2), pid=7), 2)
    assert (story.state.phase, story.effects) == (TaskPhase.STOPPING, (effects.CloseInGateway(DRAIN),))
    story.tell(events.Closed(), 2)
    assert story.effects == (effects.Signal("SIGTERM"),)
    assert story.state.reason == ASLEEP
    story.tell(events.Probed(ADDRESS))
    assert events.TaskReady("t", ADDRESS) not in story.reports


@pytest.mark.parametrize("outcome", [events.LaunchFailed(PORT), events.LaunchWaits(PORT)])
def test_stopped_while_its_launch_is_under_way_that_comes_to_nothing(outcome: object) -> None:
    story = TaskStory()
    story.tell(commands.Launch())
    story.tell(commands.Stop(ASLEEP, DRAIN), 1)
    assert story.tell(outcome, 2).phase is TaskPhase.STOPPED
    assert story.reports[-2:] == [events.TaskExited("t", Exit(), True, ASLEEP), events.TaskEnded("t")]


def test_stopped_while_it_waits_for_a_port_it_is_gone_at_once() -> None:
    story = TaskStory()
    story.tell(commands.Launch())
    story.tell(events.LaunchWaits(PORT), 1)
    assert story.tell(commands.Stop(ASLEEP, DRAIN), 1.5).phase is TaskPhase.STOPPED
    assert story.state.next_deadline is None


def test_a_launch_that_is_known_only_after_everybody_gave_up_is_ended() -> None:
    story = TaskStory()
    story.tell(commands.Launch())
    story.tell(commands.Stop(ASLEEP), 1)
    story.time(11)
    assert story.effects == (effects.Kill(),)
    story.tell(events.Launched({}, after(12)), 12)
    assert story.effects == (effects.Kill(),), "the first one found nothing"
    story.time(21)
    assert story.tell(events.Swept(), 22).phase is TaskPhase.STOPPED
    story.tell(events.Launched({}, after(30)), 30)
    assert (story.state.phase, story.effects) == (TaskPhase.STOPPED, (effects.Kill(),))
    story.tell(events.Swept(), 31)
    assert story.effects == (effects.Forget(),)


# ---- by itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exit", "phase"), [(CLEAN, TaskPhase.STOPPED), (CRASH, TaskPhase.FAILED)])
def test_its_own_end(exit: Exit, phase: TaskPhase) -> None:
    story = TaskStory.running()
    story.tell(events.Exited(exit), 10)
    assert story.reports[-1] == events.TaskExited("t", exit)
    assert (story.state.phase, story.state.ended_at) == (TaskPhase.STOPPING, after(10))
    before = story.state
    assert story.tell(events.Exited(Exit(unknown=True))) is before, "told once"
    assert story.tell(events.Swept()).phase is phase


def test_swept_before_its_exit_is_known() -> None:
    story = TaskStory.running()
    story.tell(commands.Stop(ASLEEP), 10)
    assert story.tell(events.Swept()).phase is TaskPhase.STOPPING
    story.tell(events.Exited(CLEAN))
    assert story.tell(events.Swept()).phase is TaskPhase.STOPPED


def test_health() -> None:
    story = TaskStory.running()
    story.tell(events.HealthMissed(), 10)
    story.tell(events.HealthRestored(), 20)
    assert kinds(story.reports) == ["TaskReady", "TaskUnready", "TaskReady"]
    lost = Reason(code="UNHEALTHY", message="failed its health checks for 60 s")
    story.tell(events.HealthLost(lost), 80)
    assert story.reports[-1] == events.TaskStopping("t", lost)
    assert story.state.stop_stage is StopStage.CLOSING
    story.tell(events.Closed())
    story.tell(events.Exited(CLEAN), 81)
    assert story.reports[-1] == events.TaskExited("t", CLEAN, False, lost)
    assert story.tell(events.Swept()).phase is TaskPhase.FAILED


def test_max_runtime_counts_from_its_start() -> None:
    story = TaskStory(native(max_runtime_secs=60))
    story.tell(commands.Launch())
    story.tell(events.Launched({}, after(5)), 5.5)
    story.tell(events.Probed(ADDRESS), 8)
    story.time(64.9)
    assert story.state.phase is TaskPhase.RUNNING
    story.time(65)
    assert (story.state.stop_stage, kinds(story.effects)) == (StopStage.CLOSING, ["CloseInGateway"])
    assert isinstance(story.reports[-1], events.TaskStopping)
    assert (story.reports[-1].reason.code, story.reports[-1].asked) == ("MAX_RUNTIME", False)


def test_an_event_twice_is_no_change() -> None:
    story = TaskStory.running()
    before = story.state
    assert story.tell(events.Probed(ADDRESS)) is before
    assert story.tell(events.TimerElapsed(), 1) is before
    assert story.tell(events.Launched({}, START)) is before
    assert story.state.revision == before.revision


# ---- made anew -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({}, ["LaunchTask"]),
        ({"retry_at": after(5)}, []),
        ({"phase": TaskPhase.STARTING}, []),
        ({"phase": TaskPhase.RUNNING}, ["Report"]),
        ({"phase": TaskPhase.STOPPING, "stop_stage": StopStage.LAUNCHING}, ["Report"]),
        ({"phase": TaskPhase.STOPPING, "stop_stage": StopStage.CLOSING}, ["Report", "CloseInGateway"]),
        ({"phase": TaskPhase.STOPPING, "stop_stage": StopStage.SIGNALLED}, ["Report"]),
        ({"phase": TaskPhase.STOPPING, "stop_stage": StopStage.KILLED}, ["Report", "Kill"]),
        (
            {"phase": TaskPhase.STOPPING, "stop_stage": StopStage.SWEEPING, "exit": CLEAN},
            ["Report", "Sweep"],
        ),
    ],
    ids=lambda value: "-".join(str(item) for item in value.values()) if isinstance(value, dict) else "",
)
def test_what_is_done_again_is_safe_to_repeat(changes: dict[str, Any], again: list[str]) -> None:
    assert kinds(pursue(TaskStory(**changes).state)) == again


def test_asked_how_far_it_is_it_says_so() -> None:
    story = TaskStory.running()
    before = story.state
    story.reports.clear()
    assert story.tell(commands.Recount()) is before
    assert story.reports == [events.TaskReady("t", ADDRESS)]
    story.tell(events.Exited(CRASH), 5)
    story.tell(events.Swept())
    story.reports.clear()
    story.tell(commands.Recount())
    assert story.reports == [events.TaskExited("t", CRASH), events.TaskEnded("t")]
