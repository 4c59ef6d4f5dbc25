"""Actors that raise in the middle of a step: replaced from their rows, caught up, and exactly one task afterwards."""

from __future__ import annotations

import pytest

from actors.messages import ActorFailed, Key
from platformd.domain import commands
from platformd.domain.deployment.state import Phase, Status
from platformd.domain.snapshot import Exit
from platformd.gateway import protocol
from tests.actors.stage import Stage

CRASH = Exit(code=3)
FAULTS = [
    ("driver_faults", "launch"),
    ("driver_faults", "signal"),
    ("driver_faults", "sweep"),
    ("driver_faults", "forget"),
    ("traffic_faults", "route"),
    ("traffic_faults", "close_idle"),
    ("traffic_faults", "close"),
    ("traffic_faults", "fail_held"),
    ("traffic_faults", "publish_hosts"),
    ("store_faults", "commit"),
    ("store_faults", "deployment"),
    ("store_faults", "task"),
    ("store_faults", "tasks_of"),
]


def has_one_task(stage: Stage, id: str) -> bool:
    living = stage.living(id)
    known = [member.task_id for member in stage.deployment(id).ready]
    rows = [task.id for task in stage.tasks(id)]
    return len(living) == 1 and living == known == rows == stage.gateway.open_tasks(id)


def eventually_served(stage: Stage, id: str) -> None:
    """A client that tries again for two minutes is served, by the only task."""
    for second in range(120):
        if second == 60:
            stage.gateway.time_out(id)
        answer = stage.gateway.request(id)
        if answer == stage.living(id) and has_one_task(stage, id):
            return
        stage.pass_time(1)
        stage.driver.tick()
    raise AssertionError(f"not served: {answer}, {stage.deployment(id)}")


@pytest.mark.parametrize("nth", range(6))
@pytest.mark.parametrize(("what", "name"), FAULTS)
def test_one_fault_anywhere_leaves_one_task(stage: Stage, what: str, name: str, nth: int) -> None:
    """Created, idle, woken, crashed, stopped by a caller: the nth call of one thing fails on the way."""
    getattr(stage, what).fail(name, after=nth)
    id = stage.deploy()
    eventually_served(stage, id)
    stage.pass_time(320)
    eventually_served(stage, id)
    stage.driver.exit(stage.living(id)[0], CRASH)
    eventually_served(stage, id)
    try:
        stage.ask(stage.living(id)[0], commands.Terminate(), kind="task")
    except ActorFailed:
        stage.ask(stage.living(id)[0], commands.Terminate(), kind="task")
    eventually_served(stage, id)
    stage.pass_time(60)
    assert has_one_task(stage, id)
    assert stage.deployment(id).current


@pytest.mark.parametrize("nth", range(8))
def test_a_state_that_could_not_even_be_queued_leaves_one_task(stage: Stage, nth: int) -> None:
    """A store never does that. Should a wake be lost with it, its time limit ends the waiting."""
    id = stage.asleep()
    stage.store_faults.fail("save_behind", after=nth)
    eventually_served(stage, id)
    stage.driver.exit(stage.living(id)[0], CRASH)
    eventually_served(stage, id)
    stage.pass_time(320)
    eventually_served(stage, id)


def test_a_start_that_fails_once_is_done_again_and_whoever_is_held_is_served(stage: Stage) -> None:
    id = stage.asleep()
    stage.driver_faults.fail("launch")
    assert stage.gateway.request(id) == stage.living(id) != []
    (letter,) = stage.letters.page()
    assert (letter.key.kind, letter.message, letter.error) == (
        "task",
        "Birth",
        "RuntimeError: launch is broken",
    )


def test_a_wake_whose_effects_fail_is_not_forgotten(stage: Stage) -> None:
    id = stage.asleep()
    stage.traffic_faults.fail("route")
    assert stage.gateway.request(id) == stage.living(id) != []


def test_an_exit_is_judged_once_though_the_actor_fails_over_it(stage: Stage) -> None:
    id = stage.deploy(cold_start_enabled=False)
    (task_id,) = stage.living(id)
    stage.traffic_faults.fail("route")
    stage.driver.exit(task_id, CRASH)
    after = stage.deployment(id)
    assert (after.attempt, after.restarts) == (1, {0: 1})
    stage.pass_time(1)
    assert has_one_task(stage, id)


def test_a_command_the_actor_fails_in_answers_500_and_can_be_given_again(stage: Stage) -> None:
    id = stage.deploy()
    stage.store_faults.fail("commit")
    with pytest.raises(ActorFailed) as failed:
        stage.ask(id, commands.Cancel())
    assert (failed.value.status, failed.value.code) == (500, "ACTOR_FAILED")
    assert stage.deployment(id).status is Status.RUNNING
    assert stage.ask(id, commands.Cancel()).status is Status.CANCELLED
    assert stage.living(id) == []


def test_a_command_that_is_durable_is_carried_out_by_the_successor(stage: Stage) -> None:
    """The reply is lost: the caller gets 500, looks, and finds it done."""
    id = stage.deploy()
    stage.traffic_faults.fail("route")
    with pytest.raises(ActorFailed):
        stage.ask(id, commands.Cancel())
    assert stage.durable(id).status is Status.CANCELLED
    assert stage.living(id) == []
    assert stage.store.current(stage.app.id, "development").deployment_id is None


def test_a_row_that_cannot_be_read_for_a_while_loses_no_message(stage: Stage) -> None:
    id = stage.asleep()
    stage.store_faults.fail("deployment", times=3)
    assert stage.gateway.request(id) == stage.living(id) != []
    assert len(stage.letters) == 0


# ---- too often ---------------------------------------------------------------------------------------------


def test_a_deployment_that_fails_too_often_is_quarantined_and_says_so(stage: Stage) -> None:
    id, other = stage.deploy(), stage.deploy(environment="production")
    (task_id,) = stage.living(id)
    stage.traffic_faults.fail("route", times=100)
    stage.ask(other, commands.Wake())
    stage.driver.exit(task_id, CRASH)
    assert stage.is_quarantined("deployment", id)
    stage.traffic_faults.heal()
    held = stage.deployment(id)
    assert (held.phase, held.status) == (Phase.QUARANTINED, Status.RUNNING)
    assert held.reason is not None
    assert (held.reason.code, "route is broken" in held.reason.message) == ("QUARANTINED", True)
    assert stage.durable(id).phase is Phase.QUARANTINED
    assert "deployment.quarantined" in [notice.type for notice in stage.notices]
    assert has_one_task(stage, other)


def test_requests_of_a_quarantined_one_are_refused_and_those_held_told(stage: Stage) -> None:
    id = stage.asleep()
    stage.store_faults.fail("deployment", times=6)
    answer = stage.gateway.request(id)
    assert stage.is_quarantined("deployment", id)
    assert answer == ["NO_DEPLOYMENT"]
    assert stage.gateway.request(id) == ["NO_DEPLOYMENT"]
    assert stage.directory.resume(Key("deployment", id))
    assert stage.gateway.request(id) == stage.living(id) != []


def quarantined(stage: Stage) -> tuple[str, str]:
    """A deployment out of service, and its task, which ran on."""
    id = stage.deploy()
    (task_id,) = stage.living(id)
    stage.traffic_faults.fail("close_idle", times=100)
    stage.pass_time(700)
    assert stage.is_quarantined("deployment", id)
    stage.traffic_faults.heal()
    return id, task_id


def test_its_tasks_run_on_and_serve(stage: Stage) -> None:
    id, task_id = quarantined(stage)
    assert stage.living(id) == [task_id]
    assert stage.gateway.request(id) == [task_id]


def test_commands_to_it_are_refused_and_facts_are_kept_for_people(stage: Stage) -> None:
    id, task_id = quarantined(stage)
    with pytest.raises(Exception, match="takes no commands until it is resumed") as refused:
        stage.ask(id, commands.Cancel())
    assert getattr(refused.value, "status", None) == 503
    before = len(stage.letters)
    stage.driver.exit(task_id, CRASH)
    assert [letter.message for letter in stage.letters.page(limit=len(stage.letters) - before)][
        -1
    ] == "TaskExited"


def test_resumed_it_looks_at_what_happened_meanwhile(stage: Stage) -> None:
    id, task_id = quarantined(stage)
    stage.driver.exit(task_id, CRASH)
    assert stage.directory.resume(Key("deployment", id))
    eventually_served(stage, id)
    assert stage.deployment(id).reason is None
    assert stage.living(id) != [task_id]


def test_after_a_restart_it_gets_another_chance(stage: Stage) -> None:
    id, task_id = quarantined(stage)
    stage.restart()
    assert stage.deployment(id).phase is Phase.READY
    assert stage.living(id) == [task_id]


def test_a_task_that_fails_too_often_is_an_end_like_any_other(stage: Stage) -> None:
    id = stage.asleep()
    stage.driver_faults.fail("launch", times=6)
    assert stage.gateway.request(id) == ["WAKE_CRASHED"]
    (failed,) = stage.gateway.of(protocol.WakeFailed)
    assert "launch is broken" in failed.detail
    assert stage.tasks(id) == []
    eventually_served(stage, id)
    (row,) = [
        task for task in stage.store.tasks_of(id) if task.reason and task.reason.code == "TASK_QUARANTINED"
    ]
    assert row.phase.value == "failed"


def test_the_process_of_such_a_task_is_ended(stage: Stage) -> None:
    id = stage.deploy()
    (task_id,) = stage.living(id)
    stage.driver_faults.fail("adopt", times=6)
    stage.directory.restart(Key("task", task_id))
    assert ("kill", task_id) in stage.driver.calls
    stage.pass_time(1)
    assert has_one_task(stage, id)
    assert stage.living(id) != [task_id]


def test_a_driver_that_fails_at_that_too_stops_nobody(stage: Stage) -> None:
    id = stage.deploy()
    (task_id,) = stage.living(id)
    stage.driver_faults.fail("adopt", times=6)
    stage.driver_faults.fail("kill", times=6)
    stage.directory.restart(Key("task", task_id))
    stage.pass_time(1)
    assert (
        [member.task_id for member in stage.deployment(id).ready] == stage.gateway.open_tasks(id) != [task_id]
    )
