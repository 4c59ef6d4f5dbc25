"""The tables: complete, and true about where they lead, from states that were never reached as well."""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platformd.domain import commands, events
from platformd.domain.deployment import transitions as deployments
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.rollout import phase_of, settle
from platformd.domain.deployment.state import Deployment, Goal, Member, Phase, Stage, Status
from platformd.domain.effects import Moment
from platformd.domain.machine import Rule, compile_rules, ignore
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import Autoscale, KeepAwake, ProcessType, SleepMode
from platformd.domain.task import StopStage, TaskPhase
from platformd.domain.task import transitions as tasks
from platformd.errors import PlatformError
from tests.domain.builders import ADDRESS, CRASH, START, Story, TaskStory, after, created, native
from tests.domain.simulation import RESOURCES

REASON = Reason(code="EXITED", message="exited with code 3")
DEPLOYMENT_EVENTS: tuple[type, ...] = (
    *get_args(commands.DeploymentCommand),
    *get_args(events.DeploymentFact),
)
TASK_EVENTS: tuple[type, ...] = (*get_args(commands.TaskCommand), *get_args(events.TaskFact))


@pytest.mark.parametrize(
    ("table", "phases", "kinds"),
    [
        (deployments.TRANSITIONS, Phase, DEPLOYMENT_EVENTS),
        (tasks.TRANSITIONS, TaskPhase, TASK_EVENTS),
    ],
    ids=["deployment", "task"],
)
def test_every_event_has_a_rule_in_every_phase(table: Any, phases: Any, kinds: tuple[type, ...]) -> None:
    missing = [
        f"{kind.__name__} in {phase}" for phase in phases for kind in kinds if (phase, kind) not in table
    ]
    assert not missing
    assert {kind for _, kind in table} == set(kinds)


def test_all_events_are_in_the_unions() -> None:
    """What is defined is taken by one of the machines."""
    defined = {
        kind
        for module in (events, commands)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__
    }
    wrappings = {events.TaskFound, commands.ResourcesChange, commands.IfRevision, commands.ForRequest}
    assert defined - wrappings == set(DEPLOYMENT_EVENTS) | set(TASK_EVENTS)


def test_an_event_nobody_knows_leaves_the_state_alone() -> None:
    story, task = Story.running(native()), TaskStory.running()
    before, task_before = story.state, task.state
    assert story.tell(object()) is before
    assert task.tell(object()) is task_before
    assert story.effects == task.effects == ()


def test_two_rules_for_one_pair_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two rules for Created in ready"):
        compile_rules(
            [Rule(events.Created, (Phase.READY,), ignore), Rule(events.Created, (Phase.READY,), ignore)]
        )


# ---- from states that were never reached ---------------------------------------------------------------------

instants = st.sampled_from([None, after(-1), after(0), after(1), after(100)])
task_ids = st.sampled_from(["t0", "t1", "t2", "stranger"])
exits = st.sampled_from([Exit(code=0), CRASH, Exit(signal="SIGKILL", oom_killed=True), Exit(unknown=True)])
reasons = st.sampled_from(
    [None, REASON, Reason(code="MAX_RUNTIME", message="ran"), Reason(code="PORT_IN_USE", message="nginx")]
)


def _stages(status: Status, goal: Goal, replicas: int) -> st.SearchStrategy[list[Stage]]:
    """How far its tasks may be: what was never up has none that stand still, and none at all if none was wanted."""
    if status is not Status.PENDING or goal is Goal.ASLEEP:
        return st.lists(st.sampled_from([*Stage]), max_size=3)
    moving = [stage for stage in Stage if stage not in (Stage.FREEZING, Stage.FROZEN)]
    return st.lists(st.sampled_from(moving), max_size=3 if replicas else 0)


@st.composite
def states(draw: st.DrawFn) -> Deployment:
    """A deployment that settles: goal, members and clocks in any combination that a settled one may have."""
    spec = native(
        replicas=draw(st.integers(0, 3)),
        keep_awake=draw(st.sampled_from([None, KeepAwake(cpu_percent=5)])),
        sleep_mode=draw(st.sampled_from([*SleepMode])),
        cold_start_enabled=draw(st.booleans()),
        artifact_id=draw(st.sampled_from(["artifact", None])),
        autoscale=draw(st.sampled_from([None, Autoscale(min=1, max=3, target_concurrency=10)])),
    )
    status = draw(st.sampled_from([*Status]))
    goal = Goal.FINISHED if status.final else draw(st.sampled_from([Goal.AWAKE, Goal.ASLEEP]))
    target = draw(st.integers(1, 3))
    members = tuple(
        Member(
            task_id=f"t{slot}", slot=slot, generation=1, stage=stage, address=ADDRESS, ready_at=draw(instants)
        )
        for slot, stage in enumerate(draw(_stages(status, goal, spec.replicas)))
    )
    state = replace(
        created(spec),
        status=Status.RUNNING if goal is Goal.ASLEEP else status,
        goal=goal,
        reason=draw(reasons) or REASON,
        target=target,
        full=target,
        members=members,
        ever_ready=draw(st.booleans()),
        retry_at=draw(instants) if goal is not Goal.FINISHED else None,
        wake_deadline=draw(instants)
        if goal is Goal.AWAKE and spec.sleeps and status is Status.RUNNING
        else None,
        progress_deadline=draw(instants) if goal is Goal.AWAKE else None,
        idle_deadline=draw(instants) if goal is Goal.AWAKE else None,
        quiet_since=draw(instants),
        superseded_by=draw(st.sampled_from([None, "newer"])),
        current=draw(st.booleans()) and goal is not Goal.FINISHED,
        yielded_to=draw(st.sampled_from([None, "newer"])),
    )
    held_up = draw(st.sampled_from([None, None, None, Phase.QUARANTINED, Phase.WAITING_FOR_BUILD]))
    if held_up is Phase.QUARANTINED:
        return replace(state, phase=held_up)
    if held_up is Phase.WAITING_FOR_BUILD:
        return replace(created(native(artifact_id=None)), superseded_by=state.superseded_by)
    draft = DeploymentDraft(
        replace(state, phase=phase_of(state)), Moment(START, 0.0, lambda _: draw(task_ids) + "'")
    )
    settle(draft)
    return draft.state


found = st.builds(
    events.TaskFound, task_id=task_ids, slot=st.integers(0, 3), generation=st.just(1), stopping=st.booleans()
)
changes = st.builds(
    commands.Change,
    replicas=st.sampled_from([None, 0, 1, 3]),
    resources=st.sampled_from([None, *RESOURCES]),
    image=st.sampled_from([None, "shop:2"]),
    process_type=st.sampled_from([None, ProcessType.DOCKER]),
)
deployment_events = st.one_of(
    st.builds(commands.Change, replicas=st.integers(0, 4)),
    st.builds(commands.Wake, st.booleans()),
    changes,
    st.just(commands.Restart()),
    st.sampled_from([commands.Cancel(), commands.Sleep(), events.Created(), events.TimerElapsed()]),
    st.sampled_from([events.IdleClosed(), events.IdleRefused(), events.BecameCurrent()]),
    st.builds(events.TaskReady, task_ids, st.just(ADDRESS)),
    st.builds(events.TaskUnready, task_ids),
    st.builds(events.TaskFrozen, task_ids),
    st.just(events.MemoryShort()),
    st.builds(events.Looked, st.sampled_from([None, "busy_path"])),
    st.builds(commands.KeepAwake, st.sampled_from([0, 60])),
    st.builds(events.TaskStopping, task_ids, reasons.filter(bool), st.booleans()),
    st.builds(events.TaskWaiting, task_ids, reasons.filter(bool)),
    st.builds(events.TaskExited, task_ids, exits, st.booleans(), reasons),
    st.builds(events.TaskEnded, task_ids),
    st.builds(
        events.Recovered,
        st.lists(found, max_size=3, unique_by=lambda task: task.task_id).map(tuple),
        st.booleans(),
    ),
    st.builds(events.WentQuiet, instants.filter(bool)),
    st.builds(events.Superseded, st.sampled_from([None, "newer", "newest"]), st.just(2)),
    st.builds(events.PortWanted, st.just("newer"), st.just(8080)),
    st.builds(events.PortReturned, st.just("newer")),
    st.builds(events.DemandMeasured, st.floats(0, 50), st.floats(0, 50)),
)


@settings(max_examples=400)
@given(states(), deployment_events, st.integers(0, 200))
def test_a_deployment_goes_only_where_its_table_says(state: Deployment, event: object, seconds: int) -> None:
    ids = iter(f"new{number}" for number in range(100))
    try:
        result = deployments.step(state, event, Moment(after(seconds), 0.5, lambda _: next(ids)))
    except PlatformError:
        assert isinstance(event, get_args(commands.DeploymentCommand)), "a fact cannot be refused"
        return
    rule = deployments.TRANSITIONS[state.phase, type(event)]
    assert result.state.phase is state.phase or result.state.phase in rule.leads_to
    if state.status.final:
        assert result.state.status is state.status


@given(
    st.sampled_from([*TaskPhase]),
    st.sampled_from([*StopStage]),
    st.sampled_from([None, CRASH, Exit(code=0)]),
    st.one_of(
        st.sampled_from([commands.Launch(), commands.Terminate(), commands.Recount(), events.TimerElapsed()]),
        st.builds(commands.Stop, st.just(REASON), st.sampled_from([timedelta(0), timedelta(30)])),
        st.sampled_from(
            [events.Launched({}, START), events.LaunchWaits(REASON), events.LaunchFailed(REASON)]
        ),
        st.sampled_from([events.Probed(ADDRESS), events.HealthMissed(), events.HealthRestored()]),
        st.sampled_from([events.Frozen(), events.Thawed(), events.FreezeFailed(REASON), commands.Thaw()]),
        st.builds(commands.Freeze, st.just(timedelta(30))),
        st.sampled_from([events.HealthLost(REASON), events.Exited(CRASH), events.Swept(), events.Closed()]),
    ),
    st.integers(0, 200),
)
def test_a_task_goes_only_where_its_table_says(
    phase: TaskPhase, stop_stage: StopStage, exit: Exit | None, event: object, seconds: int
) -> None:
    stopping = phase is TaskPhase.STOPPING
    closing = phase is TaskPhase.FREEZING and stop_stage is StopStage.CLOSING
    story = TaskStory(
        native(max_runtime_secs=10),
        phase=phase,
        stop_stage=stop_stage if stopping else StopStage.CLOSING if closing else None,
        stop_deadline=after(50) if stopping else None,
        exit=exit if stopping or phase.final else None,
        max_runtime_deadline=after(10),
        started_at=START,
        ready_at=START,
    )
    task = story.tell(event, seconds)
    rule = tasks.TRANSITIONS[phase, type(event)]
    assert task.phase is phase or task.phase in rule.leads_to
    assert not phase.final or task.phase is phase


# ---- arrows that random play hardly ever takes ---------------------------------------------------------------


def test_scaled_down_to_just_the_slot_that_backs_off() -> None:
    story = Story.asleep(native(replicas=2))
    story.tell(commands.Wake(by_traffic=True), 10)
    first, second = story.started
    story.exits(first, at=11)
    assert story.state.phase is Phase.WAKING
    story.tell(commands.Change(replicas=1))
    assert story.state.phase is Phase.BACKING_OFF
    assert story.stopped == [second]

    story = Story.running(native(replicas=2))
    first, _ = story.started or [member.task_id for member in story.state.members]
    story.tell(commands.Change(replicas=3), 5)
    story.exits(first, at=6)
    assert story.state.phase is Phase.UPDATING
    story.tell(commands.Change(replicas=1))
    assert story.state.phase is Phase.BACKING_OFF


def test_scaled_up_while_a_crashed_wake_backs_off() -> None:
    story = Story.asleep(native())
    story.tell(commands.Wake(by_traffic=True), 10)
    story.exits(*story.started, at=11)
    assert story.state.phase is Phase.BACKING_OFF
    assert story.tell(commands.Change(replicas=2), 11.1).phase is Phase.WAKING


def test_a_first_start_that_crashes_until_its_deadline_has_failed() -> None:
    story = Story(native(progress_deadline_secs=0.1))
    story.tell(events.Created(), 0)
    story.exits(*story.started, at=0.05)
    assert story.state.phase is Phase.BACKING_OFF
    assert story.time(0.1).phase is Phase.DONE
    assert story.state.status is Status.FAILED


def test_given_an_image_while_nothing_is_wanted_it_sleeps_at_once() -> None:
    story = Story(native(artifact_id=None, replicas=0))
    assert story.state.phase is Phase.WAITING_FOR_BUILD
    story.tell(commands.Change(image="shop:2", process_type=ProcessType.DOCKER))
    assert story.state.phase is Phase.ASLEEP


def test_what_stands_still_is_ended_with_a_deployment_that_backs_off() -> None:
    story = Story.running(native(replicas=2, sleep_mode=SleepMode.FREEZE))
    first, second = (member.task_id for member in story.state.members)
    story.exits(first, at=5)
    story.tell(events.Superseded("newer", 2))
    story.tell(events.TaskFrozen(second))
    assert story.state.phase is Phase.BACKING_OFF
    assert story.tell(commands.Cancel()).phase is Phase.DRAINING
    assert story.stopped == [second]
