"""Whom an environment's address leads to: claims, losers, refusals of the disk, and what a crash came between."""

from __future__ import annotations

from dataclasses import replace

from platformd.domain import commands, events
from platformd.domain.deployment.state import Goal, Phase, Status
from platformd.domain.operations import ClaimCurrent, ReleaseCurrent
from platformd.drivers.fake import NEVER_READY
from platformd.errors import NoSpace
from tests.actors.stage import Stage

HOST = "shop-default-development.localhost"
READY = events.Probed(("127.0.0.1", 20000))


def become_ready(stage: Stage, id: str) -> None:
    (task_id,) = stage.living(id)
    stage.driver.tell(task_id, READY)


def starting(stage: Stage, **changes: object) -> str:
    stage.driver.script = NEVER_READY
    return stage.deploy(**changes)


def test_the_newer_takes_the_address_once_it_is_ready_and_the_older_sleeps(stage: Stage) -> None:
    script, old = stage.driver.script, stage.deploy()
    new = starting(stage)
    assert stage.gateway.leads_to(HOST) == old
    assert stage.deployment(old).phase is Phase.READY
    become_ready(stage, new)
    assert stage.gateway.leads_to(HOST) == new
    older, newer = stage.deployment(old), stage.deployment(new)
    assert (older.current, older.superseded_by, older.phase) == (False, new, Phase.ASLEEP)
    assert (newer.current, newer.superseded_by) == (True, None)
    stage.driver.script = script
    assert stage.gateway.request(old) == stage.living(old) != [], "it stays reachable at its own address"
    stage.pass_time(1)
    assert stage.deployment(old).phase is Phase.READY


def test_what_cannot_sleep_has_served_its_time(stage: Stage) -> None:
    old, new = stage.deploy(cold_start_enabled=False), stage.deploy()
    ended = stage.deployment(old)
    assert (ended.status, ended.phase) == (Status.CANCELLED, Phase.DONE)
    assert ended.reason is not None
    assert ended.reason.code == "SUPERSEDED"
    assert stage.living(old) == []
    assert stage.store.current(stage.app.id, "development").deployment_id == new


def test_older_ones_that_were_never_ready_are_cancelled(stage: Stage) -> None:
    first, second = starting(stage), starting(stage)
    third = starting(stage)
    become_ready(stage, third)
    for id in (first, second):
        assert (stage.deployment(id).status, stage.living(id)) == (Status.CANCELLED, [])
    assert stage.deployment(third).current


def test_a_newer_one_that_fails_never_takes_the_address(stage: Stage) -> None:
    old = stage.deploy()
    new = starting(stage, progress_deadline_secs=30.0)
    stage.gateway.busy.add(old)
    stage.pass_time(31)
    assert stage.deployment(new).status is Status.FAILED
    assert stage.gateway.leads_to(HOST) == old
    assert stage.deployment(old).current


def test_two_claims_at_once_end_with_the_newer_whatever_their_order(stage: Stage) -> None:
    older, newer = starting(stage), starting(stage)
    stage.store.held = True
    become_ready(stage, newer)
    become_ready(stage, older)
    assert (stage.deployment(older).status, stage.deployment(newer).status) == (
        Status.RUNNING,
        Status.RUNNING,
    )
    stage.store.release()
    assert stage.gateway.leads_to(HOST) == newer
    assert (stage.deployment(older).current, stage.deployment(newer).current) == (False, True)
    assert stage.deployment(older).superseded_by == newer


def test_environments_do_not_meddle(stage: Stage) -> None:
    one, other = stage.deploy(), stage.deploy(environment="production")
    assert stage.deployment(one).current
    assert stage.deployment(other).current
    assert stage.gateway.leads_to("shop-default.localhost") == other


def test_cancelled_it_leaves_the_address_to_nobody(stage: Stage) -> None:
    old = stage.deploy()
    new = stage.deploy()
    stage.ask(new, commands.Cancel())
    refusal = stage.gateway.leads_to(HOST)
    assert (refusal.status, refusal.code) == (503, "NO_DEPLOYMENT")
    assert not stage.deployment(old).current, "nothing older is resurrected"


# ---- a disk that refuses -----------------------------------------------------------------------------------


def test_a_claim_the_disk_refuses_is_made_again_until_there_is_room(stage: Stage) -> None:
    old = stage.deploy()
    stage.store.full = True
    new = starting_from_row(stage)
    become_ready(stage, new)
    assert stage.deployment(new).phase is Phase.READY
    assert not stage.deployment(new).current
    stage.pass_time(20)
    assert stage.gateway.leads_to(HOST) == old
    stage.store.full = False
    stage.pass_time(5)
    assert stage.gateway.leads_to(HOST) == new
    assert stage.deployment(new).current
    assert not stage.deployment(old).current


def starting_from_row(stage: Stage) -> str:
    """On a full disk nothing can be created: it was there before."""
    stage.store.full = False
    row = stage.row()
    stage.store.full = True
    stage.driver.script = NEVER_READY
    stage.begin(row.id)
    return row.id


def test_a_release_the_disk_refuses_is_made_again_though_its_actor_is_at_rest(stage: Stage) -> None:
    id = stage.deploy()
    stage.store.refuse(ReleaseCurrent, NoSpace("full"))
    stage.ask(id, commands.Cancel())
    assert stage.directory.count() == 0
    assert stage.store.current(stage.app.id, "development").deployment_id == id
    stage.pass_time(5)
    assert stage.store.current(stage.app.id, "development").deployment_id is None
    assert stage.gateway.leads_to(HOST).status == 503


def test_ended_while_its_claim_was_on_its_way_it_gives_the_address_back(stage: Stage) -> None:
    id = starting(stage)
    stage.store.held = True
    become_ready(stage, id)
    ask = stage.directory.ask(stage.key(id), commands.Cancel())
    stage.store.release()
    assert ask.get(timeout=1).status is Status.CANCELLED
    stage.pass_time(10)
    assert stage.store.current(stage.app.id, "development").deployment_id is None


# ---- what a crash came between -----------------------------------------------------------------------------


def test_a_claim_that_a_crash_took_is_made_at_recovery(stage: Stage) -> None:
    stage.store.refuse(ClaimCurrent, NoSpace("full"))
    id = stage.deploy()
    assert not stage.deployment(id).current
    stage.restart()
    assert stage.deployment(id).current
    assert stage.gateway.leads_to(HOST) == id


def test_asleep_it_is_made_at_recovery_too(stage: Stage) -> None:
    stage.store.refuse(ClaimCurrent, NoSpace("full"))
    id = stage.deploy(replicas=0)
    assert stage.deployment(id).phase is Phase.ASLEEP
    stage.restart()
    stage.gateway.request(id)
    assert stage.deployment(id).current


def test_who_asked_stays_until_the_store_has_answered(stage: Stage) -> None:
    """Made anew in between it would ask again."""
    id = stage.row(replicas=0).id
    stage.store.held = True
    stage.directory.tell(stage.key(id), events.Created())
    assert stage.directory.find(stage.key(id)) is not None
    stage.store.release()
    assert stage.deployment(id).current
    assert stage.directory.find(stage.key(id)) is None


def test_the_loser_that_a_crash_kept_from_hearing_hears_at_recovery(stage: Stage) -> None:
    """The claim of the newer was durable, and nobody had been told yet."""
    old = stage.deploy(cold_start_enabled=False)
    before = stage.deployment(old)
    new = stage.deploy()
    winner = stage.deployment(new)
    stage.driver.script = NEVER_READY
    stage.store.save_behind(replace(before, members=()))
    stage.store.save_behind(replace(winner, current=False))
    stage.restart()
    assert (stage.deployment(old).status, stage.deployment(old).current) == (Status.CANCELLED, False)
    assert stage.deployment(new).current


def test_a_loser_that_sleeps_hears_at_recovery_too(stage: Stage) -> None:
    old = stage.asleep()
    before = stage.deployment(old)
    new = stage.deploy()
    stage.store.save_behind(before)
    stage.restart()
    assert (stage.deployment(old).phase, stage.deployment(old).current) == (Phase.ASLEEP, False)
    assert stage.deployment(new).current


def test_an_address_that_leads_to_one_that_has_ended_is_released_at_recovery(stage: Stage) -> None:
    id = stage.deploy()
    stage.store.refuse(ReleaseCurrent, NoSpace("full"))
    stage.ask(id, commands.Cancel())
    ended = stage.deployment(id)
    assert (ended.goal, ended.phase) == (Goal.FINISHED, Phase.DONE)
    stage.restart()
    assert stage.store.current(stage.app.id, "development").deployment_id is None
