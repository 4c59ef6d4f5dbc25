"""A deployment's actor through its life, and when what it decides becomes durable."""

from __future__ import annotations

import pytest

from actors.mailbox import State
from actors.messages import Key, Restarted
from platformd.domain import commands, events
from platformd.domain.deployment.state import Phase, Status
from platformd.domain.snapshot import Exit
from platformd.domain.spec import Restart, RestartPolicyKind, StopPolicy
from platformd.drivers.fake import EXITS_AT_ONCE, NEVER_READY, READY, SLOW_TO_EXIT, Script
from platformd.errors import InvalidState, NoSpace, NotFound, PreconditionFailed
from platformd.gateway import protocol
from tests.actors.stage import Stage

CRASH = Exit(code=3, last_lines=("boom",))

# ---- its life ----------------------------------------------------------------------------------------------


def test_created_ready_current_asleep_woken(stage: Stage) -> None:
    id = stage.deploy()
    up = stage.deployment(id)
    assert (up.status, up.phase, up.current) == (Status.RUNNING, Phase.READY, True)
    assert stage.gateway.open_tasks(id) == stage.living(id) != []
    stage.pass_time(299)
    assert stage.deployment(id).phase is Phase.READY
    stage.pass_time(1)
    assert (stage.deployment(id).phase, stage.living(id)) == (Phase.ASLEEP, [])
    assert stage.directory.count() == 0, "what sleeps is a row and nothing else"
    answer = stage.gateway.request(id)
    assert answer == stage.living(id) != []
    assert stage.deployment(id).phase is Phase.READY


def test_what_happened_is_announced_once_it_is_stored(stage: Stage) -> None:
    id = stage.deploy()
    stage.pass_time(301)
    kinds = [notice.type for notice in stage.notices if notice.kind == "deployment"]
    order = ["created", "ready", "current", "draining", "asleep"]
    assert kinds == [f"deployment.{kind}" for kind in order]
    revisions = [
        notice.revision for notice in stage.notices if notice.deployment_id == id and not notice.task_id
    ]
    assert revisions == sorted(set(revisions)), "each revision once, rising"


def test_requests_that_come_while_it_wakes_cause_one_start(stage: Stage) -> None:
    id = stage.asleep()
    stage.driver.script = NEVER_READY
    answers = [stage.gateway.request(id) for _ in range(5)]
    stage.tell(id, commands.Wake(by_traffic=True))
    (task_id,) = stage.living(id)
    stage.driver.tell(task_id, events.Probed(("127.0.0.1", 20000)))
    assert answers == [[task_id]] * 5
    assert stage.driver.started(id) == 1


def test_a_busy_one_is_not_put_to_sleep(stage: Stage) -> None:
    id = stage.deploy()
    stage.gateway.busy.add(id)
    stage.pass_time(900)
    assert stage.deployment(id).phase is Phase.READY
    stage.gateway.busy.clear()
    stage.pass_time(301)
    assert stage.deployment(id).phase is Phase.ASLEEP


def test_without_an_answer_of_the_gateway_nothing_is_stopped(stage: Stage) -> None:
    id = stage.deploy()
    stage.gateway.answers = False
    stage.pass_time(330)
    assert (stage.deployment(id).phase, len(stage.living(id))) == (Phase.READY, 1)
    assert len(stage.gateway.of(protocol.Close)) > 1, "it asks again"


def test_a_crash_is_followed_by_a_pause_and_another_start(stage: Stage) -> None:
    id = stage.deploy()
    (first,) = stage.living(id)
    stage.driver.exit(first, CRASH)
    resting = stage.deployment(id)
    assert (resting.phase, stage.living(id)) == (Phase.BACKING_OFF, [])
    assert resting.reason is not None
    assert (resting.reason.exit_code, resting.reason.last_lines) == (3, ("boom",))
    assert stage.gateway.request(id) == ["BACKING_OFF"]
    stage.pass_time(0.3)
    (second,) = stage.living(id)
    assert second != first
    assert stage.deployment(id).phase is Phase.READY
    assert stage.task(second).restarts == 1
    assert any("boom" in line or "exited with code 3" in line for _, _, line in stage.lines)


def test_one_that_crashes_while_it_wakes_tells_who_is_held_at_once(stage: Stage) -> None:
    id = stage.asleep()
    stage.driver.script = EXITS_AT_ONCE
    assert stage.gateway.request(id) == ["WAKE_CRASHED"]
    failed = stage.gateway.of(protocol.WakeFailed)[-1]
    assert (failed.status, failed.exit_code, failed.last_lines) == (502, 3, ["no configuration"])
    assert failed.retry_after >= 1
    assert stage.gateway.request(id) == ["BACKING_OFF"]
    stage.driver.script = READY
    stage.pass_time(0.5)
    assert stage.gateway.request(id) == stage.living(id) != []


def test_one_that_never_listens_is_given_up_when_the_wake_has_lasted_too_long(stage: Stage) -> None:
    id = stage.asleep()
    stage.driver.script = NEVER_READY
    answer = stage.gateway.request(id)
    stage.pass_time(59)
    assert answer == []
    stage.pass_time(1)
    assert answer == ["WAKE_TIMEOUT"]
    assert stage.living(id) == []
    assert stage.deployment(id).phase is Phase.ASLEEP


def test_a_spent_budget_before_it_was_ever_ready_is_its_end(stage: Stage) -> None:
    stage.driver.script = EXITS_AT_ONCE
    id = stage.deploy(restart=Restart(max_attempts=2), cold_start_enabled=False)
    stage.pass_time(60)
    ended = stage.deployment(id)
    assert (ended.status, ended.phase) == (Status.FAILED, Phase.DONE)
    assert sum(call == "launch" for call, _ in stage.driver.calls) == 3
    assert stage.gateway.request(id) == ["NO_DEPLOYMENT"]


def test_one_that_ignores_its_signal_is_killed(stage: Stage) -> None:
    stage.driver.script = Script(obeys_after=None)
    id = stage.asleep(stop=StopPolicy(grace_secs=0.5))
    calls = [call for call, _ in stage.driver.calls]
    assert calls[:4] == ["launch", "SIGTERM", "kill", "sweep"]
    assert set(calls[4:]) == {"forget"}
    assert stage.living(id) == []


def test_a_request_after_the_stop_signal_starts_a_task_beside_the_ending_one(stage: Stage) -> None:
    stage.driver.script = SLOW_TO_EXIT
    id = stage.deploy()
    (old,) = stage.living(id)
    stage.pass_time(301)
    answer = stage.gateway.request(id)
    assert len(answer) == 1
    assert answer != [old]
    stage.driver.tick(5)
    assert stage.living(id) == answer


def test_a_task_a_caller_stops_is_replaced(stage: Stage) -> None:
    id = stage.deploy()
    (first,) = stage.living(id)
    answered = stage.ask(first, commands.Terminate(), kind="task")
    assert (answered.id, answered.asked) == (first, True)
    (second,) = stage.living(id)
    assert second != first
    assert stage.deployment(id).phase is Phase.READY
    assert stage.deployment(id).restarts == {}


def test_scaled_up_and_down(stage: Stage) -> None:
    id = stage.deploy()
    (first,) = stage.living(id)
    assert stage.ask(id, commands.Change(replicas=3)).spec.replicas == 3
    assert len(stage.gateway.open_tasks(id)) == len(stage.living(id)) == 3
    stage.ask(id, commands.Change(replicas=1))
    assert stage.gateway.open_tasks(id) == stage.living(id) == [first]


def test_a_job_that_is_done_is_not_done_again(stage: Stage) -> None:
    stage.driver.script = Script(ready_after=None, exits_after=0, exit=Exit(code=0))
    id = stage.deploy(cold_start_enabled=False, restart=Restart(policy=RestartPolicyKind.ON_FAILURE))
    stage.pass_time(100)
    assert stage.deployment(id).status is Status.SUCCEEDED
    assert [call for call, _ in stage.driver.calls].count("launch") == 1


# ---- commands are promises ---------------------------------------------------------------------------------


def test_a_command_acts_and_is_answered_once_it_is_durable(stage: Stage) -> None:
    id = stage.deploy()
    stage.store.held = True
    ask = stage.directory.ask(Key("deployment", id), commands.Cancel())
    info = stage.directory.find(Key("deployment", id))
    assert info is not None
    assert (info.state, info.parked_since) == (State.PARKED, stage.now)
    assert not ask.done()
    assert len(stage.living(id)) == 1
    assert stage.durable(id).status is Status.RUNNING
    stage.store.release()
    assert ask.get(timeout=1).status is Status.CANCELLED
    assert stage.durable(id).status is Status.CANCELLED
    assert stage.living(id) == []


def test_what_comes_while_it_waits_is_taken_afterwards(stage: Stage) -> None:
    id = stage.deploy()
    (task_id,) = stage.living(id)
    stage.store.held = True
    ask = stage.directory.ask(Key("deployment", id), commands.Change(replicas=2))
    stage.driver.exit(task_id, CRASH)
    assert stage.deployment(id).members[0].task_id == task_id
    stage.store.release()
    assert ask.get(timeout=1).spec.replicas == 2
    assert stage.deployment(id).attempt == 1
    stage.pass_time(1)
    assert len(stage.living(id)) == 2


def test_a_command_that_cannot_be_stored_has_not_happened(stage: Stage) -> None:
    id = stage.deploy()
    before, calls = stage.deployment(id), [*stage.driver.calls]
    stage.store.full = True
    with pytest.raises(NoSpace) as refused:
        stage.ask(id, commands.Cancel())
    assert refused.value.status == 507
    assert stage.deployment(id) == before
    assert stage.driver.calls == calls
    stage.store.full = False
    assert stage.ask(id, commands.Cancel()).status is Status.CANCELLED


def test_facts_that_came_before_a_command_that_could_not_be_stored_are_kept(stage: Stage) -> None:
    id = stage.deploy()
    (task_id,) = stage.living(id)
    stage.store.full = True
    stage.driver.exit(task_id, CRASH)
    with pytest.raises(NoSpace):
        stage.ask(id, commands.Change(replicas=2))
    assert stage.deployment(id).phase is Phase.BACKING_OFF
    assert stage.durable(id).phase is Phase.READY
    stage.store.full = False
    assert stage.durable(id).phase is Phase.BACKING_OFF


def test_a_refused_command_changes_nothing_and_the_actor_lives(stage: Stage) -> None:
    id = stage.deploy()
    stage.ask(id, commands.Cancel())
    with pytest.raises(InvalidState, match="cancelled"):
        stage.ask(id, commands.Change(replicas=2))
    with pytest.raises(NotFound) as unknown:
        stage.ask("no-such", commands.Cancel())
    assert unknown.value.code == "DEPLOYMENT_NOT_FOUND"
    assert stage.ask(id, commands.Cancel()).status is Status.CANCELLED, "again: the same answer"
    assert len(stage.letters) == 0


def test_replaced_while_it_waits_its_successor_goes_on_from_what_was_stored_in_the_end(stage: Stage) -> None:
    id = stage.deploy()
    stage.store.held = True
    ask = stage.directory.ask(Key("deployment", id), commands.Cancel())
    stage.directory.restart(Key("deployment", id))
    with pytest.raises(Restarted):
        ask.get(timeout=1)
    assert len(stage.living(id)) == 1
    stage.store.release()
    assert stage.durable(id).status is Status.CANCELLED
    assert (stage.living(id), stage.gateway.request(id)) == ([], ["NO_DEPLOYMENT"])


# ---- facts never wait --------------------------------------------------------------------------------------


def test_facts_act_before_they_are_durable(stage: Stage) -> None:
    id = stage.asleep()
    stage.store.held = True
    assert stage.gateway.request(id) == stage.living(id) != []
    assert stage.durable(id).phase is Phase.ASLEEP
    stage.store.release()
    assert stage.durable(id).phase is Phase.READY


def test_a_full_disk_stops_no_wake_no_crash_decision_and_no_idle_stop(stage: Stage) -> None:
    id = stage.asleep()
    stage.store.full = True
    (first,) = stage.gateway.request(id)
    stage.driver.exit(first, CRASH)
    assert stage.gateway.request(id) == ["BACKING_OFF"]
    stage.pass_time(0.5)
    (second,) = stage.gateway.request(id)
    assert second != first
    stage.pass_time(301)
    assert stage.living(id) == []
    stage.store.full = False
    assert stage.durable(id).phase is Phase.ASLEEP
    assert stage.store.reader.live_tasks() == []


def test_a_caller_wakes_it_on_a_full_disk_too(stage: Stage) -> None:
    id = stage.asleep()
    stage.store.full = True
    assert stage.ask(id, commands.Wake()).phase is Phase.WAKING
    assert len(stage.living(id)) == 1


def test_a_change_from_another_revision_than_the_callers_is_refused(stage: Stage) -> None:
    id = stage.deploy()
    present = stage.deployment(id).revision
    with pytest.raises(PreconditionFailed, match=f"revision {present}, not {present - 1}"):
        stage.ask(id, commands.IfRevision(commands.Change(replicas=2), present - 1))
    assert stage.deployment(id).revision == present
    stage.ask(id, commands.IfRevision(commands.Change(replicas=2), present))
    assert len(stage.living(id)) == 2
    with pytest.raises(PreconditionFailed):  # of two that saw the same, one wins
        stage.ask(id, commands.IfRevision(commands.Change(replicas=3), present))
