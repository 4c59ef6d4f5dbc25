"""Two versions of one app in one environment: who takes the address, and whose fixed port it is."""

from __future__ import annotations

from datetime import timedelta

from platformd.domain import commands, effects, events
from platformd.domain.deployment.state import Goal, Phase, Status
from platformd.domain.snapshot import Reason
from platformd.domain.spec import Networking, StopPolicy
from tests.domain.builders import Story, native

NEWER = events.Superseded("newer", 2)


def test_superseded_with_cold_start_it_sleeps_and_stays_reachable() -> None:
    story = Story.running(native())
    (task,) = [member.task_id for member in story.state.members]
    story.tell(NEWER, 5)
    assert (story.state.status, story.state.phase) == (Status.RUNNING, Phase.DRAINING)
    assert (story.state.current, story.state.superseded_by) == (False, "newer")
    assert story.of(effects.StopTask)[0].drain == timedelta(seconds=30), "requests end where they began"
    assert not story.of(effects.ReleaseCurrent)
    story.ends(task, at=6)
    story.tell(commands.Wake(by_traffic=True), 7)
    assert story.started
    story.ready(*story.started)
    assert story.tell(NEWER).phase is Phase.READY, "told again, what a request has woken stays awake"


def test_superseded_without_cold_start_it_is_cancelled() -> None:
    story = Story.running(native(cold_start_enabled=False))
    story.tell(NEWER, 5)
    assert (story.state.status, story.state.phase) == (Status.CANCELLED, Phase.DRAINING)
    assert story.state.reason is not None
    assert story.state.reason.code == "SUPERSEDED"


def test_superseded_before_it_was_ready_it_is_cancelled() -> None:
    story = Story(native())
    story.tell(events.Created())
    assert story.tell(NEWER, 5).status is Status.CANCELLED
    waiting = Story(native(artifact_id=None))
    assert waiting.tell(NEWER).phase is Phase.DONE


def test_superseded_while_a_request_wakes_it_the_request_is_served() -> None:
    story = Story.asleep(native())
    story.tell(commands.Wake(by_traffic=True), 5)
    assert story.tell(NEWER).phase is Phase.WAKING
    story.ready(*[member.task_id for member in story.state.members], at=6)
    assert story.state.phase is Phase.READY

    exclusive = Story.running(native(stop=StopPolicy(exclusive=True)))
    exclusive.tell(commands.Sleep(), 5)
    exclusive.tell(commands.Wake(by_traffic=True), 6)  # waits for the old one to go
    assert exclusive.tell(NEWER).phase is Phase.WAKING


def test_an_older_version_whose_port_a_newer_one_holds_is_not_woken() -> None:
    story = Story.asleep(native(networking=Networking(port=8080)))
    story.tell(NEWER)
    story.tell(commands.Wake(by_traffic=True), 5)
    (task,) = story.started
    story.tell(events.TaskWaiting(task, Reason(code="PORT_IN_USE", message="port 8080 is held by version 2")))
    (answer,) = story.of(effects.FailHeld)
    assert (answer.status, answer.code) == (503, "PORT_IN_USE")
    assert (story.state.goal, story.stopped) == (Goal.ASLEEP, [task])


def test_a_task_on_its_way_out_has_no_port_to_wait_for() -> None:
    """A late report must not turn what has ended round."""
    story = Story(native(networking=Networking(port=8080)))
    story.tell(events.Created())
    (task,) = story.started
    story.tell(NEWER)
    story.tell(events.TaskWaiting(task, Reason(code="PORT_IN_USE", message="port 8080 is held by nginx")))
    assert (story.state.status, story.state.goal, story.effects) == (Status.CANCELLED, Goal.FINISHED, ())


def test_a_port_is_yielded_to_a_newer_version_and_returned_should_it_fail() -> None:
    story = Story.running(native(networking=Networking(port=8080)))
    (task,) = [member.task_id for member in story.state.members]
    story.tell(events.PortWanted("newer", 8080), 5)
    assert (story.state.phase, story.stopped) == (Phase.DRAINING, [task])
    story.ends(task, at=6)
    story.tell(commands.Wake(by_traffic=True), 7)
    assert not story.started, "requests are held"
    assert story.of(effects.AskForReturn) == [effects.AskForReturn("newer")]
    story.tell(events.PortReturned("somebody else"), 8)
    assert story.state.yielded_to == "newer"
    story.tell(events.PortReturned("newer"), 9)
    assert (story.state.phase, len(story.started)) == (Phase.WAKING, 1)


def test_who_is_held_for_a_yielded_port_hears_that_the_newer_took_over() -> None:
    story = Story.running(native(networking=Networking(port=8080)))
    story.tell(events.PortWanted("newer", 8080), 5)
    story.tell(NEWER, 6)
    assert [answer.code for answer in story.of(effects.FailHeld)] == ["PORT_IN_USE"]
    assert story.state.yielded_to is None


def test_beyond_the_versions_that_are_kept_it_is_cancelled() -> None:
    story = Story.asleep(native())
    story.tell(NEWER, 5)
    story.tell(events.Retired(12), 6)
    assert (story.state.status, story.state.phase) == (Status.CANCELLED, Phase.DONE)
    assert story.state.reason is not None
    assert story.state.reason.code == "SUPERSEDED"
    current = Story.running(native())
    assert current.tell(events.Retired(12), 6).status is Status.RUNNING, "nobody retires what has the address"
