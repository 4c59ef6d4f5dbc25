"""A new serve meets rows, keeper's records and living processes: everything known goes on, nothing is there twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from platformd.domain import commands, events
from platformd.domain.deployment.state import Deployment, Phase, Status
from platformd.domain.snapshot import Exit
from platformd.domain.spec import Networking, Protocol, StopPolicy
from platformd.domain.task import Task, TaskPhase
from platformd.drivers.fake import IGNORES_SIGNALS, NEVER_READY, Script
from tests.actors.stage import START, Stage, record


def up(stage: Stage, **changes: object) -> tuple[str, Task]:
    """A deployment that is ready, and its task."""
    id = stage.deploy(**changes)
    (task,) = stage.tasks(id)
    return id, task


def forget_task(stage: Stage, row: Deployment) -> None:
    """The rows as they were before the last wake: a crash took what was written behind."""
    stage.store.save_behind(row)


# ---- known tasks -------------------------------------------------------------------------------------------


def test_what_ran_runs_on(stage: Stage) -> None:
    id, task = up(stage)
    before = stage.deployment(id)
    stage.pass_time(100)
    found = stage.restart(record(task.id, id))
    assert (found.deployments, found.known) == (1, (task.id,))
    assert stage.driver.calls == [("launch", task.id), ("adopt", task.id)]
    after = stage.deployment(id)
    assert (after.phase, after.members, after.idle_deadline) == (
        Phase.READY,
        before.members,
        before.idle_deadline,
    )
    assert stage.task(task.id) == task
    assert stage.gateway.open_tasks(id) == [task.id]
    stage.pass_time(199)
    assert stage.living(id) == [task.id]
    stage.pass_time(1)
    assert (stage.deployment(id).phase, stage.living(id)) == (Phase.ASLEEP, [])


def test_deadlines_hold_across_it(stage: Stage) -> None:
    _, task = up(stage, max_runtime_secs=60.0, cold_start_enabled=False, replicas=1)
    stage.pass_time(50)
    stage.restart(record(task.id, task.deployment_id))
    stage.pass_time(9)
    assert stage.living(task.deployment_id) == [task.id]
    stage.pass_time(1)
    assert stage.living(task.deployment_id) == []


def test_what_slept_sleeps_on_and_has_no_actor(stage: Stage) -> None:
    id = stage.asleep()
    found = stage.restart()
    assert (found.deployments, found.known, stage.directory.count()) == (0, (), 0)
    assert stage.gateway.request(id) == stage.living(id) != []


def test_one_that_was_starting_is_probed_on(stage: Stage) -> None:
    stage.driver.script = Script(ready_after=1)
    id, task = up(stage)
    stage.restart(record(task.id, id))
    assert stage.gateway.open_tasks(id) == []
    stage.driver.tick(2)
    assert stage.gateway.open_tasks(id) == stage.living(id) == [task.id]
    assert stage.deployment(id).current


def test_one_that_ended_meanwhile_is_judged_as_if_it_had_been_seen(stage: Stage) -> None:
    id, task = up(stage)
    stage.directory.drop()
    stage.driver._sink = lambda *_: None
    stage.driver.exit(task.id, Exit(code=3, last_lines=("boom",)))
    stage.driver._sink = stage._from_driver
    stage.restart(record(task.id, id))
    after = stage.deployment(id)
    assert after.reason is not None
    assert (after.phase, after.reason.exit_code, after.attempt) == (Phase.BACKING_OFF, 3, 1)
    stage.pass_time(1)
    assert len(stage.living(id)) == 1


def test_one_that_is_gone_without_a_trace_is_replaced(stage: Stage) -> None:
    id, task = up(stage)
    stage.driver.tasks.clear()
    stage.restart()
    row = stage.task(task.id)
    assert row.exit == Exit(unknown=True)
    stage.pass_time(1)
    (living,) = stage.living(id)
    assert living != task.id
    assert stage.gateway.open_tasks(id) == [living]


def test_a_stop_that_was_under_way_goes_on(stage: Stage) -> None:
    stage.driver.script = IGNORES_SIGNALS
    id, task = up(stage, stop=StopPolicy(grace_secs=20))
    stage.ask(id, commands.Cancel())
    stage.pass_time(15)
    stage.restart(record(task.id, id))
    stage.pass_time(4)
    assert stage.living(id) == [task.id]
    stage.pass_time(1)
    assert (stage.living(id), stage.deployment(id).phase) == ([], Phase.DONE)


# ---- rows that lag behind ----------------------------------------------------------------------------------


def test_a_task_that_only_the_keeper_knows_is_taken_over(stage: Stage) -> None:
    """A native wake stores nothing before it acts: the keeper's record is all there is."""
    id = stage.asleep(max_runtime_secs=60.0)
    slept = stage.deployment(id)
    stage.gateway.request(id)
    (task,) = stage.tasks(id)
    stage.store.save_behind(slept)
    boot = round((START + timedelta(seconds=301)).timestamp() * 1e6) * 1000
    found = stage.restart(record(task.id, id, boot_ns=boot), lose=[task])
    assert found.known == (task.id,)
    assert stage.living(id) == [task.id]
    stage.driver.tell(task.id, events.Probed(("127.0.0.1", 20001)))
    row = stage.task(task.id)
    assert (row.pid, row.handle) == (7, {"v": 1, "port": 20001, "pid": 7, "start_time": 1234})
    assert row.max_runtime_deadline == START + timedelta(seconds=361)
    assert stage.gateway.open_tasks(id) == stage.living(id) == [task.id]
    stage.pass_time(60)
    assert stage.living(id) == []


def test_a_task_of_an_awake_deployment_that_only_the_keeper_knows_is_the_one(stage: Stage) -> None:
    stage.driver.script = NEVER_READY
    id = stage.deploy()
    (task,) = stage.tasks(id)
    stage.store.save_behind(replace(stage.deployment(id), members=()))
    stage.restart(record(task.id, id), lose=[task])
    assert [member.task_id for member in stage.deployment(id).members] == [task.id]
    assert stage.living(id) == [task.id]


def test_a_task_that_was_ordered_and_never_began_begins(stage: Stage) -> None:
    stage.driver.script = Script(launched_after=None)
    id, task = up(stage)
    stage.driver.tasks.clear()
    stage.driver.script = Script()
    stage.restart()
    assert stage.gateway.open_tasks(id) == stage.living(id) == [task.id]


def test_one_whose_launch_was_stored_nowhere_but_at_the_keeper_is_not_launched_again(stage: Stage) -> None:
    id, task = up(stage)
    pending = Task(
        id=task.id, deployment_id=id, app_id=task.app_id, slot=0, generation=1, created_at=START, updated_at=START
    )  # fmt: skip
    stage.store.save_behind(pending)
    stage.restart(record(task.id, id))
    assert [call for call, _ in stage.driver.calls] == ["launch", "adopt"]
    assert stage.task(task.id).phase is TaskPhase.RUNNING


def test_what_a_row_says_has_ended_is_none_of_ours(stage: Stage) -> None:
    id, task = up(stage)
    stage.ask(id, commands.Cancel())
    found = stage.restart(record(task.id, id))
    assert found.known == ()
    assert stage.task(task.id).phase is TaskPhase.STOPPED


def test_a_task_of_a_deployment_nobody_knows_is_left_to_the_driver(stage: Stage) -> None:
    found = stage.restart(record("stray", "nobody"))
    assert (found.deployments, found.known) == (0, ())
    assert stage.directory.count() == 0


def test_a_job_that_was_done_is_not_done_again(stage: Stage) -> None:
    """Its end is in its own row, and a crash came before its deployment's."""
    id, task = up(stage, networking=Networking(protocol=Protocol.NONE), cold_start_enabled=False)
    before = stage.deployment(id)
    stage.driver.exit(task.id, Exit(code=0))
    assert stage.deployment(id).status is Status.SUCCEEDED
    stage.store.save_behind(before)
    stage.restart()
    assert stage.deployment(id).status is Status.SUCCEEDED
    assert [call for call, _ in stage.driver.calls].count("launch") == 1


def test_created_and_then_killed_before_anybody_heard_it_begins(stage: Stage) -> None:
    row = stage.row()
    assert stage.restart().deployments == 1
    assert stage.deployment(row.id).phase is Phase.READY
    assert stage.gateway.open_tasks(row.id) == stage.living(row.id) != []


def test_created_without_replicas_it_sleeps(stage: Stage) -> None:
    row = stage.row(replicas=0)
    stage.restart()
    slept = stage.deployment(row.id)
    assert (slept.status, slept.phase, slept.current, stage.living(row.id)) == (
        Status.RUNNING,
        Phase.ASLEEP,
        True,
        [],
    )


# ---- too many ----------------------------------------------------------------------------------------------


def test_of_two_tasks_in_one_slot_one_is_left(stage: Stage) -> None:
    id, task = up(stage)
    twin = replace(task, id="twin", pid=8)
    stage.driver.launch(replace(stage.driver.tasks[task.id].order, task_id="twin"))
    stage.store.save_behind(twin)
    stage.restart(record(task.id, id), record("twin", id, pid=8))
    assert stage.living(id) == [task.id], "the one that served goes on"
    assert stage.gateway.open_tasks(id) == [task.id]


def test_a_task_that_outlived_its_deployment_is_ended(stage: Stage) -> None:
    """The deployment was done by its row; what it had is known to live."""
    id, task = up(stage)
    stage.store.save_behind(
        replace(stage.deployment(id), members=(), status=Status.CANCELLED, phase=Phase.DONE, goal="finished")
    )
    stage.restart(record(task.id, id))
    assert stage.living(id) == []
    assert stage.deployment(id).phase is Phase.DONE


def test_twice_in_a_row_changes_nothing(stage: Stage) -> None:
    id, task = up(stage)
    stage.restart(record(task.id, id))
    once = stage.deployment(id)
    stage.restart(record(task.id, id))
    assert stage.deployment(id).members == once.members
    assert stage.living(id) == stage.gateway.open_tasks(id) == [task.id]


# ---- the host ----------------------------------------------------------------------------------------------


def test_after_a_reboot_what_was_awake_starts_again_and_what_slept_sleeps(stage: Stage) -> None:
    asleep, (awake, task) = stage.asleep(environment="production"), up(stage)
    stage.driver.tasks.clear()
    stage.restart(host_restarted=True)
    assert stage.deployment(asleep).phase is Phase.ASLEEP
    buried = stage.task(task.id)
    assert buried.reason is not None
    assert (buried.phase, buried.reason.code) == (TaskPhase.STOPPED, "HOST_RESTARTED")
    (again,) = stage.living(awake)
    assert again != task.id
    after = stage.deployment(awake)
    assert (after.attempt, after.restarts, after.failures) == (0, {}, ()), "nobody failed"


def test_after_a_reboot_no_dead_address_is_opened(stage: Stage) -> None:
    id, task = up(stage)
    stage.driver.tasks.clear()
    stage.driver.script = NEVER_READY
    stage.gateway.heard.clear()
    stage.restart(host_restarted=True)
    opened = {spec.task for order in stage.gateway.heard if hasattr(order, "tasks") for spec in order.tasks}
    assert task.id not in opened
    assert stage.gateway.open_tasks(id) == []


def test_an_actor_made_anew_later_in_that_boot_forgets_the_reboot(stage: Stage) -> None:
    id, _ = up(stage)
    stage.driver.tasks.clear()
    stage.restart(host_restarted=True)
    assert stage.deployment(id).phase is Phase.READY
    stage.directory.restart(stage.key(id))
    assert stage.deployment(id).reason is None
