"""A task's actor: its launch, max runtime and stop, what it tells its deployment, and being made anew."""

from __future__ import annotations

import pytest

from actors.messages import Key
from platformd.domain import commands, events
from platformd.domain.deployment.state import Phase, Status
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import Networking, StopPolicy
from platformd.domain.task import StopStage, TaskPhase
from platformd.drivers.fake import CANNOT_START, IGNORES_SIGNALS, NEVER_READY, WAITS_FOR_PORT, Script
from platformd.errors import NoSpace, NotFound
from platformd.gateway import protocol
from tests.actors.stage import Stage

READY = events.Probed(("127.0.0.1", 20000))


def only_task(stage: Stage, id: str) -> str:
    (task,) = stage.tasks(id)
    return task.id


def test_a_row_is_there_as_soon_as_the_launch_is_ordered(stage: Stage) -> None:
    stage.driver.script = Script(launched_after=None)
    id = stage.deploy()
    (task,) = stage.tasks(id)
    assert (task.phase, task.slot, task.deployment_id) == (TaskPhase.PENDING, 0, id)
    assert stage.driver.calls == [("launch", task.id)]


def test_its_row_follows_it_from_launch_to_end(stage: Stage) -> None:
    stage.driver.script = NEVER_READY
    id = stage.deploy()
    task_id = only_task(stage, id)
    launched = stage.task(task_id)
    assert (launched.phase, launched.pid, launched.started_at) == (TaskPhase.STARTING, 1_000_000, stage.now)
    stage.pass_time(2)
    stage.driver.tell(task_id, READY)
    ready = stage.task(task_id)
    assert (ready.phase, ready.address, ready.ready_at) == (
        TaskPhase.RUNNING,
        ("127.0.0.1", 20000),
        stage.now,
    )
    stage.ask(id, commands.Cancel())
    ended = stage.task(task_id)
    assert (ended.phase, ended.asked, ended.ended_at) == (TaskPhase.STOPPED, True, stage.now)
    assert ended.exit == Exit(signal="SIGTERM")
    kinds = [notice.type for notice in stage.notices if notice.task_id == task_id]
    assert set(kinds[-2:]) == {"task.stopped", "task.exited"}
    assert stage.directory.find(Key("task", task_id)) is None


def test_requests_in_flight_end_before_the_signal(stage: Stage) -> None:
    id = stage.deploy()
    task_id = only_task(stage, id)
    stage.gateway.answers = False
    stage.ask(id, commands.Cancel())
    (close,) = stage.gateway.of(protocol.Close)
    assert (close.mode, close.tasks, close.timeout) == ("drain", [task_id], 30.0)
    assert stage.task(task_id).stop_stage is StopStage.CLOSING
    stage.traffic.on_report({"op": "closed", "deployment": id, "tasks": [task_id], "mode": "drain"})
    assert stage.task(task_id).phase is TaskPhase.STOPPED


def test_no_signal_before_it_is_durable_that_it_ends(stage: Stage) -> None:
    """Also when nobody asked for the stop: after a crash in between it would be served again."""
    id = stage.deploy(max_runtime_secs=10)
    task_id = only_task(stage, id)
    stage.store.held = True
    stage.pass_time(10)
    assert [close.tasks for close in stage.gateway.of(protocol.Close)] == [[task_id]]
    assert ("SIGTERM", task_id) not in stage.driver.calls
    stage.store.release()
    assert ("SIGTERM", task_id) in stage.driver.calls
    assert stage.living(id) == []


def test_a_gateway_that_never_answers_stops_no_stop(stage: Stage) -> None:
    id = stage.deploy()
    stage.gateway.answers = False
    stage.ask(id, commands.Cancel())
    stage.pass_time(31)
    assert len(stage.living(id)) == 1
    stage.pass_time(1)
    assert stage.living(id) == []


def test_the_grace_is_waited_out_and_then_it_is_killed(stage: Stage) -> None:
    stage.driver.script = IGNORES_SIGNALS
    id = stage.deploy(stop=StopPolicy(signal="SIGINT", grace_secs=3))
    task_id = only_task(stage, id)
    stage.ask(id, commands.Cancel())
    assert ("SIGINT", task_id) in stage.driver.calls
    stage.pass_time(2.9)
    assert stage.living(id) == [task_id]
    stage.pass_time(0.1)
    assert stage.living(id) == []
    assert stage.task(task_id).exit == Exit(signal="SIGKILL")


def test_one_that_survives_its_kill_is_given_up_and_swept_on(stage: Stage) -> None:
    stage.driver.script = Script(obeys_after=None, dies_after=None, swept_after=1000)
    id = stage.deploy()
    task_id = only_task(stage, id)
    stage.ask(id, commands.Cancel())
    stage.pass_time(10 + 10 + 25)
    assert stage.task(task_id).stop_stage is StopStage.SWEEPING
    assert stage.driver.calls.count(("sweep", task_id)) >= 3, "it goes on being tried"


def test_it_runs_for_as_long_as_it_may_and_no_longer(stage: Stage) -> None:
    id = stage.deploy(max_runtime_secs=60.0)
    task_id = only_task(stage, id)
    stage.pass_time(59)
    assert stage.living(id) == [task_id]
    stage.pass_time(1)
    assert stage.living(id) == []
    ended = stage.task(task_id)
    assert ended.reason is not None
    assert (ended.phase, ended.reason.code) == (TaskPhase.FAILED, "MAX_RUNTIME")
    assert stage.deployment(id).phase is Phase.ASLEEP
    assert stage.gateway.request(id) == stage.living(id) != []


def test_one_that_cannot_start_says_why_and_is_not_tried_again(stage: Stage) -> None:
    stage.driver.script = CANNOT_START
    id = stage.deploy()
    ended = stage.deployment(id)
    assert ended.reason is not None
    assert (ended.status, ended.reason.code) == (Status.FAILED, "NOT_EXECUTABLE")
    (task,) = stage.store.tasks_of(id)
    assert task.phase is TaskPhase.FAILED
    assert ("forget", task.id) in stage.driver.calls


def test_one_that_waits_for_its_port_says_who_has_it_and_tries_again(stage: Stage) -> None:
    stage.driver.script = WAITS_FOR_PORT
    id = stage.deploy(networking=Networking(port=8080))
    waiting = stage.deployment(id)
    assert waiting.reason is not None
    assert (waiting.phase, waiting.reason.code) == (Phase.STARTING, "PORT_IN_USE")
    assert "nginx" in waiting.reason.message
    stage.pass_time(1)
    assert (stage.deployment(id).phase, stage.deployment(id).reason) == (Phase.READY, None)
    assert [call for call, _ in stage.driver.calls] == ["launch", "launch"]


def test_unhealthy_it_leaves_the_balance_and_comes_back(stage: Stage) -> None:
    id = stage.deploy()
    task_id = only_task(stage, id)
    stage.driver.tell(task_id, events.HealthMissed())
    assert stage.gateway.open_tasks(id) == []
    stage.driver.tell(task_id, events.HealthRestored())
    assert stage.gateway.open_tasks(id) == [task_id]
    stage.driver.tell(task_id, events.HealthLost(Reason(code="UNHEALTHY", message="for 60 s")))
    assert task_id not in stage.living(id)
    stage.pass_time(1)
    assert stage.gateway.open_tasks(id) == stage.living(id) != []


# ---- stopped by a caller -----------------------------------------------------------------------------------


def test_the_stop_of_a_caller_is_durable_before_the_signal(stage: Stage) -> None:
    id = stage.deploy()
    task_id = only_task(stage, id)
    stage.store.held = True
    ask = stage.directory.ask(Key("task", task_id), commands.Terminate())
    assert ("SIGTERM", task_id) not in stage.driver.calls
    stage.store.release()
    answered = ask.get(timeout=1)
    assert (answered.id, answered.phase) == (task_id, TaskPhase.STOPPING)
    assert ("SIGTERM", task_id) in stage.driver.calls


def test_a_stop_that_cannot_be_stored_has_not_happened(stage: Stage) -> None:
    id = stage.deploy()
    task_id = only_task(stage, id)
    stage.store.full = True
    with pytest.raises(NoSpace):
        stage.ask(task_id, commands.Terminate(), kind="task")
    assert (stage.living(id), stage.task(task_id).phase) == ([task_id], TaskPhase.RUNNING)
    assert stage.gateway.open_tasks(id) == [task_id]


def test_stopped_twice_the_second_finds_it_done(stage: Stage) -> None:
    id = stage.deploy()
    task_id = only_task(stage, id)
    stage.ask(task_id, commands.Terminate(), kind="task")
    again = stage.ask(task_id, commands.Terminate(), kind="task")
    assert (again.id, again.phase) == (task_id, TaskPhase.STOPPED)
    assert len(stage.living(id)) == 1


def test_stopped_before_it_was_launched_it_never_begins(stage: Stage) -> None:
    stage.driver.script = Script(launched_after=1)
    id = stage.deploy()
    task_id = only_task(stage, id)
    stage.ask(id, commands.Cancel())
    assert stage.task(task_id).stop_stage is StopStage.LAUNCHING
    stage.driver.tick(3)
    assert stage.living(id) == []
    assert (stage.task(task_id).phase, stage.deployment(id).phase) == (TaskPhase.STOPPED, Phase.DONE)


def test_an_unknown_task_is_named(stage: Stage) -> None:
    with pytest.raises(NotFound, match="no task t-1") as unknown:
        stage.ask("t-1", commands.Terminate(), kind="task")
    assert unknown.value.code == "TASK_NOT_FOUND"
    stage.tell("t-1", events.Swept(), kind="task")
    assert stage.directory.count() == 0


# ---- made anew ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["task", "deployment"])
def test_restarted_while_it_runs_nothing_happens(stage: Stage, kind: str) -> None:
    id = stage.deploy()
    task_id = only_task(stage, id)
    before = stage.deployment(id)
    stage.directory.restart(Key(kind, task_id if kind == "task" else id))
    after = stage.deployment(id)
    assert (after.phase, after.members, after.idle_deadline) == (
        before.phase,
        before.members,
        before.idle_deadline,
    )
    assert stage.gateway.open_tasks(id) == stage.living(id) == [task_id]
    stage.pass_time(300)
    assert stage.deployment(id).phase is Phase.ASLEEP


@pytest.mark.parametrize("script", [Script(launched_after=1), Script(ready_after=1)])
def test_restarted_while_it_starts_it_is_started_once(stage: Stage, script: Script) -> None:
    stage.driver.script = script
    id = stage.deploy()
    task_id = only_task(stage, id)
    stage.directory.restart(Key("task", task_id))
    stage.driver.tick(3)
    assert stage.gateway.open_tasks(id) == stage.living(id) == [task_id]


def test_restarted_while_it_ends_it_ends(stage: Stage) -> None:
    stage.driver.script = IGNORES_SIGNALS
    id = stage.deploy()
    task_id = only_task(stage, id)
    stage.ask(id, commands.Cancel())
    stage.directory.restart(Key("task", task_id))
    stage.directory.restart(Key("deployment", id))
    stage.pass_time(10)
    assert (stage.living(id), stage.deployment(id).phase) == ([], Phase.DONE)
    assert stage.driver.calls.count(("SIGTERM", task_id)) == 1
