"""What people read of a deployment's life: which events there are, and what they say."""

from __future__ import annotations

from typing import Any

from platformd.domain import commands
from platformd.domain.deployment.state import Phase
from platformd.domain.snapshot import Exit
from platformd.drivers.fake import EXITS_AT_ONCE, NEVER_READY
from tests.actors.stage import Stage

CRASH = Exit(code=3, last_lines=("one", "boom"))


def told(stage: Stage, *types: str) -> list[Any]:
    return [notice for notice in stage.notices if notice.type in types]


def test_a_wake_has_a_beginning_and_an_end_that_says_how_long_it_took(stage: Stage) -> None:
    id = stage.asleep()
    stage.notices.clear()
    stage.gateway.request(id)
    kinds = [notice.type for notice in stage.notices if notice.kind in ("deployment", "wake")]
    assert kinds == ["deployment.waking", "wake.started", "deployment.ready", "wake.ready"]
    started, ready = told(stage, "wake.started", "wake.ready")
    assert started.data == {"by": "traffic"}
    assert (ready.deployment_id, ready.data["ready"]) == (id, 1)
    assert 0 <= ready.data["duration_ms"] < 60_000


def test_a_wake_in_vain_says_why(stage: Stage) -> None:
    id = stage.asleep()
    stage.driver.script = NEVER_READY
    stage.gateway.request(id)
    stage.pass_time(61)
    (failed,) = told(stage, "wake.failed")
    assert failed.data["reason"]["code"] == "WAKE_TIMEOUT"
    assert failed.data["duration_ms"] == 60_000


def test_every_exit_is_told_once_with_how_and_what_comes_next(stage: Stage) -> None:
    id = stage.deploy()
    (task_id,) = stage.living(id)
    stage.driver.exit(task_id, CRASH)
    (exited,) = told(stage, "task.exited")
    assert (exited.task_id, exited.deployment_id) == (task_id, id)
    assert exited.data["exit_code"] == 3
    assert exited.data["last_lines"] == ["one", "boom"]
    assert exited.data["asked"] is False
    assert 0.1 < exited.data["next_try_in_secs"] < 0.3
    (backing_off,) = told(stage, "deployment.backing_off")
    assert backing_off.data["reason"]["exit_code"] == 3
    stage.restart()
    stage.pass_time(1)
    stage.ask(id, commands.Sleep())
    again = told(stage, "task.exited")
    assert len(again) == 2
    assert (again[1].data["asked"], again[1].data["next_try_in_secs"]) == (True, None)


def test_an_exit_while_nobody_was_there_is_told_at_the_next_start(stage: Stage) -> None:
    stage.driver.script = EXITS_AT_ONCE
    id = stage.deploy()
    first = len(told(stage, "task.exited"))
    assert first == 1
    stage.pass_time(200)
    assert stage.deployment(id).phase is Phase.DONE
    ends = told(stage, "task.exited")
    assert len({notice.task_id for notice in ends}) == len(ends) == 6
    assert ends[-1].data["next_try_in_secs"] is None


def test_scaling_and_the_address_are_told(stage: Stage) -> None:
    older = stage.deploy()
    newer = stage.deploy()
    (superseded,) = told(stage, "deployment.superseded")
    assert (superseded.deployment_id, superseded.data["by"]) == (older, newer)
    current = [notice.deployment_id for notice in told(stage, "deployment.current")]
    assert current == [older, newer]
    assert [notice.deployment_id for notice in told(stage, "deployment.not_current")] == [older]
    stage.ask(newer, commands.Change(replicas=3))
    (scaled,) = told(stage, "deployment.scaled")
    assert (scaled.data["before"], scaled.data["replicas"]) == (1, 3)
    assert not told(stage, "deployment.changed")
    (made,) = told(stage, "app.created")
    assert made.data["name"] == "shop"
