"""The build's machine: what it does on each way, that its table is complete and true, and whose turn it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platformd.domain import events
from platformd.domain.build import happenings
from platformd.domain.build import messages as m
from platformd.domain.build.queue import next_turns
from platformd.domain.build.state import Build, BuildState, Origin, Phase
from platformd.domain.build.transitions import TRANSITIONS, step
from platformd.domain.build.verdict import verdict_of
from platformd.domain.effects import Moment
from platformd.domain.snapshot import Commit, Exit, Reason
from platformd.domain.source import BuildKind, Recipe
from platformd.domain.spec import DeploymentSpec, ProcessType
from platformd.errors import InvalidState

START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
COMMIT = Commit(sha="0" * 40, author="Ada <ada@example.com>", message="Say hello")
REASON = Reason(code="SOURCE_NOT_FOUND", message="there is no repository")
BY_COMMAND = Recipe(kind=BuildKind.COMMAND, command="make", artifact_path="server")
BY_DOCKERFILE = Recipe(kind=BuildKind.DOCKERFILE)


def build(recipe: Recipe = BY_COMMAND, **rest) -> Build:
    known = {"id": "b", "app_id": "a", "app_name": "web", "environment": "development", "origin": Origin.API}
    times = {"created_at": START, "updated_at": START, "timeout_secs": 900.0}
    return Build(**{**known, **times, "repository": "octo/web", "recipe": recipe, **rest})


class Story:
    """A build that is told one thing after another; `effects` are those of the last one."""

    def __init__(self, state: Build | None = None) -> None:
        self.state = state or build()
        self.at = START
        self.effects: tuple[object, ...] = ()

    def tell(self, *told: object) -> Build:
        for event in told:
            taken = step(self.state, event, Moment(self.at, 0.0, lambda slot: "run"))
            self.state, self.effects = taken.state, taken.effects
        return self.state

    def ordered(self, kind: type) -> bool:
        return any(isinstance(effect, kind) for effect in self.effects)


def built(**rest) -> Story:
    """As far as the command's success."""
    story = Story(build(**rest))
    story.tell(
        m.Queued(), m.Begun(), m.Fetched(COMMIT), events.Launched({}, START), events.Exited(Exit(code=0))
    )
    return story


def test_a_command_is_run_swept_up_after_and_what_it_left_is_deployed() -> None:
    story = Story(build(spec=DeploymentSpec()))
    story.tell(m.Queued())
    assert story.effects == (m.EnterQueue(),)
    running = story.tell(m.Begun())
    assert (running.state, running.attempt, running.started_at) == (BuildState.RUNNING, 1, START)
    assert running.next_deadline == START + timedelta(seconds=900)
    assert story.effects == (m.Fetch(),)
    assert story.tell(m.Fetched(COMMIT)).run_id == "run"
    assert story.effects == (m.RunCommand(),)
    story.tell(events.Launched({"pid": 7}, START), events.Exited(Exit(code=0)))
    assert story.effects == (m.SweepRun("run"),)
    story.tell(events.Swept())
    assert story.effects == (m.ForgetRun("run"), m.Collect())
    stored = story.tell(m.Stored("artifact"))
    assert (stored.state, stored.artifact_id, stored.phase) == (
        BuildState.SUCCEEDED,
        "artifact",
        Phase.DEPLOYING,
    )
    assert story.effects == (m.Deploy(),)
    done = story.tell(m.Deployed("deployment"))
    assert (done.phase, done.deployment_id, done.next_deadline) == (Phase.DONE, "deployment", None)
    assert story.effects == (m.CleanUp(), m.LeaveQueue())


def test_a_dockerfile_goes_to_the_engine_and_fills_in_what_waits() -> None:
    story = Story(build(BY_DOCKERFILE))
    story.tell(m.Begun(), m.Fetched(COMMIT))
    assert story.effects == (m.MakeImage(),)
    story.tell(m.ImageMade("platformd/web:1", "sha256:1"))
    assert story.state.digests == {"platformd/web:1": "sha256:1"}
    story.tell(m.Deployed("waiting"))
    assert story.ordered(m.FillIn)
    verdict = verdict_of(story.state)
    assert isinstance(verdict, events.BuildSucceeded)
    assert (verdict.makes, verdict.image) == (ProcessType.DOCKER, "platformd/web:1")


def test_a_command_that_fails_says_how_and_the_next_has_its_turn_once_nothing_runs() -> None:
    story = Story(build(deployment_id="waiting"))
    lines = ("server.c:1: error",)
    story.tell(m.Begun(), m.Fetched(COMMIT), events.Exited(Exit(code=2, last_lines=lines)))
    reason = story.state.reason
    assert reason is not None
    assert (reason.code, reason.exit_code, reason.last_lines) == ("BUILD_FAILED", 2, lines)
    assert not story.ordered(m.LeaveQueue)
    story.tell(events.Swept())
    assert story.ordered(m.LeaveQueue)
    assert story.ordered(m.Disappoint)
    assert isinstance(verdict_of(story.state), events.BuildFailed)


def test_work_that_cannot_be_done_ends_the_build_at_once() -> None:
    story = Story()
    assert story.tell(m.Begun(), m.WorkFailed(REASON)).phase is Phase.DONE
    assert (story.state.state, story.state.reason) == (BuildState.FAILED, REASON)


@pytest.mark.parametrize("told", [(), (m.Fetched(COMMIT),), (m.Fetched(COMMIT), events.Exited(Exit(code=0)))])
def test_the_deadline_ends_whatever_is_under_way(told) -> None:
    story = Story()
    story.tell(m.Begun(), *told)
    story.at = START + timedelta(seconds=899)
    story.tell(events.TimerElapsed())
    assert story.state.phase is not Phase.ENDING
    story.at = START + timedelta(seconds=900)
    story.tell(events.TimerElapsed())
    assert story.state.reason is not None
    assert (story.state.state, story.state.reason.code) == (BuildState.FAILED, "BUILD_TIMEOUT")
    assert m.EndWork(story.state.run_id) in story.effects


def test_a_build_cut_off_by_a_restart_is_ended_and_begins_again_within_its_deadline() -> None:
    story = Story()
    story.tell(m.Begun(), m.Fetched(COMMIT), events.Launched({}, START), m.Interrupted())
    assert m.EndWork("run") in story.effects
    again = story.tell(events.Swept())
    assert (again.phase, again.state, again.run_id) == (Phase.QUEUED, BuildState.QUEUED, None)
    assert story.effects == (m.ForgetRun("run"), m.LeaveQueue(), m.EnterQueue())
    story.at = START + timedelta(seconds=500)
    second = story.tell(m.Begun())
    assert (second.attempt, second.started_at, second.deadline) == (2, START, START + timedelta(seconds=900))
    story.tell(m.Interrupted(), events.Swept())
    story.at = START + timedelta(seconds=901)
    assert story.tell(m.Begun()).state is BuildState.FAILED


def test_one_that_had_its_time_when_it_is_found_again_does_not_begin_again() -> None:
    story = Story()
    story.tell(m.Begun(), m.Fetched(COMMIT), events.Launched({}, START))
    story.at = START + timedelta(seconds=900)
    ended = story.tell(m.Interrupted())
    assert (ended.state, ended.phase, ended.reason and ended.reason.code) == (
        BuildState.FAILED,
        Phase.ENDING,
        "BUILD_TIMEOUT",
    )
    assert m.EndWork("run") in story.effects
    assert story.tell(events.Swept()).phase is Phase.DONE


def test_the_deadline_of_one_that_begins_again_holds_while_it_waits_for_its_turn() -> None:
    story = Story()
    story.tell(m.Begun(), m.Interrupted(), events.Swept())
    story.at = START + timedelta(seconds=899)
    assert story.tell(events.TimerElapsed()).phase is Phase.QUEUED
    story.at = START + timedelta(seconds=900)
    ended = story.tell(events.TimerElapsed())
    assert (ended.state, ended.phase) == (BuildState.FAILED, Phase.DONE)
    assert story.ordered(m.LeaveQueue)
    fresh = Story()
    fresh.at = START + timedelta(days=1)
    assert fresh.tell(events.TimerElapsed()).phase is Phase.QUEUED


def test_an_exit_that_is_no_commands_changes_nothing() -> None:
    story = Story(build(BY_DOCKERFILE))
    making = story.tell(m.Begun(), m.Fetched(COMMIT))
    assert story.tell(events.Exited(Exit(code=0))) is making


def test_a_restart_between_success_and_deployment_goes_on_there() -> None:
    story = built()
    story.tell(events.Swept(), m.Stored("artifact"), m.DeployWaits())
    assert story.state.next_deadline == START + timedelta(seconds=1)
    story.tell(m.Interrupted())
    assert story.effects == (m.Deploy(),)
    story.at = START + timedelta(seconds=1)
    story.tell(events.TimerElapsed())
    assert story.effects == (m.Deploy(),)
    assert story.tell(m.DeployRefused(REASON)).state is BuildState.SUCCEEDED
    assert story.state.reason == REASON


def test_a_launch_that_waits_for_the_keeper_is_tried_again() -> None:
    story = Story()
    story.tell(m.Begun(), m.Fetched(COMMIT), events.LaunchWaits(REASON))
    story.at = START + timedelta(seconds=1)
    story.tell(events.TimerElapsed())
    assert story.effects == (m.RunCommand(),)


def test_a_command_given_up_before_it_was_launched_is_ended_once_that_is_known() -> None:
    story = Story()
    story.tell(m.Begun(), m.Fetched(COMMIT), m.Cancel())
    story.tell(events.Launched({"pid": 9}, START))
    assert story.effects == (m.EndWork("run"),)
    assert story.tell(events.Swept()).phase is Phase.DONE
    never = Story()
    never.tell(m.Begun(), m.Fetched(COMMIT), m.Cancel())
    assert never.tell(events.LaunchFailed(REASON)).phase is Phase.DONE


def test_cancelling_is_final_in_every_phase_and_as_good_twice_as_once() -> None:
    ways = [(), (m.Begun(),), (m.Begun(), m.Fetched(COMMIT)), (m.Begun(), m.Interrupted())]
    for way in ways:
        story = Story()
        story.tell(*way, m.Cancel())
        assert story.state.state is BuildState.CANCELLED
        once = story.state
        assert story.tell(m.Cancel()) is once
        story.tell(events.Swept())
        assert (story.state.phase, story.state.state) == (Phase.DONE, BuildState.CANCELLED)
    for state in (BuildState.SUCCEEDED, BuildState.FAILED):
        with pytest.raises(InvalidState):
            Story(build(state=state, phase=Phase.DONE)).tell(m.Cancel())


def test_a_newer_push_cancels_what_waits_and_not_what_has_begun() -> None:
    waiting = Story().tell(m.Superseded("newer"))
    assert (waiting.state, waiting.superseded_by) == (BuildState.CANCELLED, "newer")
    assert waiting.reason is not None
    assert waiting.reason.code == "SUPERSEDED"
    begun = Story()
    begun.tell(m.Begun())
    assert begun.tell(m.Superseded("newer")).state is BuildState.RUNNING
    found = begun.tell(m.FoundBuilt("other", COMMIT))
    assert (found.superseded_by, found.commit, found.phase) == ("other", COMMIT, Phase.DONE)


def test_the_revision_rises_with_what_can_be_seen() -> None:
    story = Story()
    begun = story.tell(m.Begun())
    assert begun.revision == 2
    fetched = story.tell(m.Fetched(COMMIT))
    assert story.tell(events.Launched({"pid": 1}, START)).revision == fetched.revision
    assert [notice.type for notice in happenings.notices(build(), begun)] == ["build.running"]
    assert [notice.type for notice in happenings.notices(begun, fetched)] == ["build.updated"]


# ---- the table -----------------------------------------------------------------------------------------------


def test_every_event_has_a_rule_in_every_phase() -> None:
    kinds = {m.Cancel, *get_args(m.BuildFact)}
    missing = [(phase, kind) for phase in Phase for kind in kinds if (phase, kind) not in TRANSITIONS]
    assert not missing
    assert {kind for _, kind in TRANSITIONS} == kinds


facts = st.sampled_from(
    [
        *(m.Queued(), m.Begun(), m.Fetched(COMMIT), m.Fetched(None), m.FoundBuilt("other", COMMIT)),
        *(m.ImageMade("i", "sha256:1"), m.Stored("artifact"), m.WorkFailed(REASON), m.Superseded("newer")),
        *(m.Deployed("deployment"), m.Deployed(None), m.DeployRefused(REASON), m.DeployWaits()),
        *(m.Interrupted(), m.Cancel(), events.Launched({}, START), events.LaunchWaits(REASON)),
        *(events.LaunchFailed(REASON), events.Exited(Exit(code=0)), events.Exited(Exit(signal="SIGKILL"))),
        *(events.Swept(), events.TimerElapsed()),
    ]
)


@given(
    st.lists(facts, max_size=30),
    st.sampled_from([BY_COMMAND, BY_DOCKERFILE]),
    st.lists(st.integers(0, 400), min_size=30, max_size=30),
)
def test_whatever_happens_it_goes_where_the_table_says_and_final_is_final(told, recipe, pauses) -> None:
    story = Story(build(recipe))
    queued = 0
    for event, pause in zip(told, pauses, strict=False):
        before = story.state
        story.at += timedelta(seconds=pause)
        try:
            story.tell(event)
        except InvalidState:
            continue
        after, rule = story.state, TRANSITIONS[before.phase, type(event)]
        assert after.phase in (before.phase, *rule.leads_to)
        if before.state.final:
            assert after.state is before.state
        if after.phase is Phase.DONE:
            assert after.state.final
            assert after.next_deadline is None
        assert (after.run_id is None) or after.phase in (Phase.BUILDING, Phase.STORING, Phase.ENDING)
        if after.state is not BuildState.SUCCEEDED and after.state.final:
            assert after.reason is not None
        queued += story.ordered(m.EnterQueue) - story.ordered(m.LeaveQueue)
        if before.phase is not Phase.DONE and after.phase is Phase.DONE:
            assert story.ordered(m.LeaveQueue)
            assert story.ordered(m.CleanUp)


# ---- the queue -----------------------------------------------------------------------------------------------

HERE, THERE, ELSEWHERE = ("a", "development"), ("a", "production"), ("b", "development")


def test_one_at_a_time_in_each_place_and_in_order() -> None:
    waiting = {"1": HERE, "2": HERE, "3": THERE, "4": ELSEWHERE}
    assert list(next_turns(waiting, {}, 2)) == ["1", "3"]
    assert list(next_turns(waiting, {"0": HERE}, 3)) == ["3", "4"]
    assert list(next_turns(waiting, {"0": HERE}, 1)) == []
    assert list(next_turns({}, {}, 3)) == []


def test_a_restored_build_that_takes_more_than_there_is_holds_the_others_back() -> None:
    assert list(next_turns({"3": ELSEWHERE}, {"1": HERE, "2": THERE}, 1)) == []
    assert replace(build(), environment="production").place == THERE
