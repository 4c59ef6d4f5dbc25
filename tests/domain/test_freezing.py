"""Stories of deployments and tasks that sleep by standing still."""

from __future__ import annotations

from dataclasses import replace

import pytest

from platformd.domain import commands, effects, events, policy
from platformd.domain.deployment.state import Phase, Stage
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import KeepAwake, Networking, SleepMode, WakePolicy
from platformd.domain.task import TaskPhase
from tests.domain.builders import ADDRESS, Story, TaskStory, after, native

FREEZE = native(sleep_mode=SleepMode.FREEZE)


def frozen(spec=FREEZE, at: float = 0.0) -> Story:
    story = Story.running(spec, at)
    members = [member.task_id for member in story.state.members]
    story.tell(commands.Sleep())
    for task_id in members:
        story.tell(events.TaskFrozen(task_id))
    return story


def test_asleep_only_once_every_task_stands_still() -> None:
    story = Story.running(replace(FREEZE, replicas=2))
    first, second = (member.task_id for member in story.state.members)
    story.tell(commands.Sleep())
    assert [order.task_id for order in story.of(effects.FreezeTask)] == [first, second]
    assert (story.tell(events.TaskFrozen(first)).phase, story.stopped) == (Phase.DRAINING, [])
    state = story.tell(events.TaskFrozen(second))
    assert (state.phase, state.tasks_total, state.progress) == (Phase.ASLEEP, 0, 100)


def test_a_wake_thaws_and_counts_idleness_anew() -> None:
    story = frozen()
    state = story.tell(commands.Wake(by_traffic=True), 1000)
    assert (state.phase, story.started, len(story.of(effects.ThawTask))) == (Phase.WAKING, [], 1)
    state = story.tell(events.TaskReady("t0", ADDRESS))
    assert (state.phase, state.idle_deadline) == (Phase.READY, after(1300))


def test_a_wake_of_few_leaves_the_others_frozen() -> None:
    story = frozen(replace(FREEZE, replicas=3, wake=WakePolicy(replicas=1)))
    story.tell(commands.Wake(by_traffic=True), 10)
    assert [order.task_id for order in story.of(effects.ThawTask)] == ["t0"]
    state = story.tell(events.TaskReady("t0", ADDRESS))
    assert (state.phase, state.tasks_total, len(state.in_stage(Stage.FROZEN))) == (Phase.READY, 1, 2)
    story.tell(commands.Change(replicas=2))
    assert [order.task_id for order in story.of(effects.ThawTask)] == ["t1"]
    assert story.stopped == ["t2"]


def test_the_last_one_ending_in_its_thaw_fails_the_held() -> None:
    story = frozen()
    story.tell(commands.Wake(by_traffic=True), 10)
    story.exits("t0", at=11)
    [failure] = story.of(effects.FailHeld)
    assert failure.code == "WAKE_CRASHED"


def test_a_newer_version_ends_what_would_keep_its_port() -> None:
    story = frozen(replace(FREEZE, networking=Networking(port=8080)))
    assert story.tell(events.Superseded("newer", 2)).phase is Phase.DRAINING
    assert story.stopped == ["t0"]
    assert frozen().tell(events.Superseded("newer", 2)).phase is Phase.ASLEEP


@pytest.mark.parametrize(
    ("mode", "phase"), [(SleepMode.AUTO, Phase.DRAINING), (SleepMode.FREEZE, Phase.ASLEEP)]
)
def test_only_auto_ends_what_stood_still_for_long(mode: SleepMode, phase: Phase) -> None:
    assert frozen(native(sleep_mode=mode, idle_timeout_secs=5)).time(51).phase is phase
    assert frozen(native(sleep_mode=mode)).tell(events.MemoryShort(), 5).phase is phase


def test_a_freeze_that_is_woken_before_it_has_happened_is_void() -> None:
    story = Story.running(FREEZE)
    story.tell(commands.Sleep())
    assert story.tell(commands.Wake(by_traffic=True)).phase is Phase.WAKING
    story.tell(events.TaskFrozen("t0"))  # on its way meanwhile
    assert story.of(effects.ThawTask)
    assert story.tell(events.TaskReady("t0", ADDRESS)).phase is Phase.READY


def lying(spec=FREEZE) -> TaskStory:
    story = TaskStory.running(spec)
    story.tell(commands.Freeze(policy.DRAIN))
    assert story.effects == (effects.CloseInGateway(policy.DRAIN, for_good=False),)
    story.tell(events.Closed())
    assert story.effects == (effects.Freeze(),)
    story.tell(events.Frozen())
    return story


@pytest.mark.parametrize(
    "order", [commands.Stop(Reason(code="X", message="x"), policy.DRAIN), commands.Terminate()]
)
def test_it_is_thawed_before_any_signal(order: object) -> None:
    story = lying()
    assert story.tell(order).phase is TaskPhase.STOPPING
    assert story.effects == (effects.Thaw(), effects.Signal("SIGTERM"))


def test_its_max_runtime_goes_on_while_it_stands_still() -> None:
    story = lying(replace(FREEZE, max_runtime_secs=10))
    story.time(10)
    assert story.effects == (effects.Thaw(), effects.Signal("SIGTERM"))
    assert story.state.reason is not None
    assert story.state.reason.code == "MAX_RUNTIME"


def test_what_cannot_stand_still_is_stopped() -> None:
    story = TaskStory.running(FREEZE)
    story.tell(commands.Freeze(policy.DRAIN))
    story.tell(events.Closed())
    assert story.time(10).phase is TaskPhase.STOPPING
    assert story.effects == (effects.Thaw(), effects.Signal("SIGTERM"))


def test_an_end_while_it_stands_still_is_seen() -> None:
    story = lying()
    assert story.tell(events.Exited(Exit(signal="SIGKILL"))).phase is TaskPhase.STOPPING
    assert story.effects == (effects.Sweep(),)


# ---- what keeps awake ----------------------------------------------------------------------------------------


def test_a_lease_moves_the_idle_deadline_and_only_ever_grows() -> None:
    story = Story.running(native(idle_timeout_secs=10))
    assert story.tell(commands.KeepAwake(60), 1).idle_deadline == after(71)
    assert story.tell(commands.KeepAwake(5), 2).idle_deadline == after(71)
    assert story.tell(commands.KeepAwake(0), 3).idle_deadline == after(10)


def test_a_lease_while_the_gateway_is_asked_opens_the_tasks_again() -> None:
    story = Story.running(native(idle_timeout_secs=10))
    story.time(10)
    assert story.of(effects.CloseIdle)
    story.tell(commands.KeepAwake(60))
    assert story.tell(events.IdleClosed()).phase is Phase.READY
    assert story.of(effects.RouteAgain)


def test_rules_are_asked_before_it_falls_asleep_and_each_30_s() -> None:
    story = Story.running(native(idle_timeout_secs=40, keep_awake=KeepAwake(busy_path="/busy")))
    story.time(30)
    assert story.of(effects.LookBusy)
    assert story.tell(events.Looked("busy_path")).idle_deadline == after(70)
    story.tell(events.Looked(None), 60.5)
    story.time(70)
    assert (len(story.of(effects.LookBusy)), story.of(effects.CloseIdle)) == (2, [])
    story.tell(events.Looked(None))
    story.time(70.1)
    assert story.of(effects.CloseIdle)
