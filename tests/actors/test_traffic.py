"""Between actors and the gateway: the full table, what changes in it, and what the gateway reports."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from actors import gateway_table
from platformd import clock
from platformd.domain import commands
from platformd.domain.deployment.routing import routing
from platformd.domain.snapshot import Exit
from platformd.domain.spec import WakePolicy
from platformd.drivers.fake import NEVER_READY
from platformd.gateway import protocol
from tests.actors.stage import Stage

CRASH = Exit(code=3)


def boot_ns(stage: Stage, seconds_ago: float = 0.0) -> int:
    return round((stage.now - timedelta(seconds=seconds_ago)).timestamp() * 1e6) * 1000


# ---- the full table ----------------------------------------------------------------------------------------


def test_a_gateway_that_comes_gets_the_whole_table_between_reset_and_synced(stage: Stage) -> None:
    up, asleep = stage.deploy(wake=WakePolicy(timeout_secs=7, queue_limit=5, concurrency=3)), stage.row().id
    stage.gateway.replaced()
    heard = stage.gateway.heard
    reset, synced = (next(i for i, order in enumerate(heard) if isinstance(order, kind)) for kind in (
        protocol.Reset, protocol.Synced,
    ))  # fmt: skip
    assert reset == 0
    assert heard[0].epoch == 2
    table = heard[:synced]
    assert [type(order).__name__ for order in table] == ["Reset", "Errors", "Routes", "Routes", "Targets"]
    assert table[1].full is True
    preview = stage.deployment(up).identity.preview_host
    assert table[2].hosts[preview] == up
    assert table[2].hosts["shop-default-development.localhost"] == up
    refusal = table[2].hosts["shop-default.localhost"]
    assert (refusal.status, set(refusal.names)) == (404, {
        preview, "shop-default-development.localhost", stage.deployment(asleep).identity.preview_host,
    })  # fmt: skip
    config = table[3].deployments[up]
    assert (config.wakeable, config.wake_timeout, config.queue_limit, config.concurrency) == (True, 7, 5, 3)
    (target,) = table[4].tasks
    assert (target.task, target.address, target.slow_start) == (*stage.living(up), ("127.0.0.1", 20000), True)


def test_a_table_that_cannot_be_read_is_read_again_until_it_can(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = stage.deploy()
    read = gateway_table.everything

    def breaks(store: object) -> Iterator[protocol.Message]:
        yield next(iter(read(stage.store)))
        raise OSError("the disk is away")

    monkeypatch.setattr(gateway_table, "everything", breaks)
    stage.gateway.replaced()
    stage.loop.run()  # and fails again
    assert not any(isinstance(order, protocol.Synced) for order in stage.gateway.heard)
    monkeypatch.setattr(gateway_table, "everything", read)
    stage.loop.run()
    assert [type(order) for order in stage.gateway.heard].count(protocol.Synced) == 1
    assert any(up in order.deployments for order in stage.gateway.heard if isinstance(order, protocol.Routes))


def test_a_failed_reading_is_not_repeated_for_a_gateway_that_is_gone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = gateway_table.everything

    def breaks(store: object) -> Iterator[protocol.Message]:
        raise OSError("the disk is away")
        yield

    monkeypatch.setattr(gateway_table, "everything", breaks)
    stage.gateway.replaced()
    monkeypatch.setattr(gateway_table, "everything", read)
    stage.gateway.replaced()
    stage.loop.run()
    assert [type(order) for order in stage.gateway.heard].count(protocol.Synced) == 1


def test_all_that_live_say_it_again_after_the_table(stage: Stage) -> None:
    """The table is made of rows, and a turn may have been under way."""
    id = stage.deploy()
    stage.gateway.replaced()
    after = stage.gateway.heard[-2:]
    assert [type(order).__name__ for order in after] == ["Routes", "Targets"]
    assert (after[1].deployment, [task.task for task in after[1].tasks]) == (id, stage.living(id))


def test_the_table_knows_what_is_not_durable_yet(stage: Stage) -> None:
    id = stage.deploy()
    stage.store.held = True
    stage.driver.exit(stage.living(id)[0], CRASH)
    stage.gateway.replaced()
    synced = next(i for i, order in enumerate(stage.gateway.heard) if isinstance(order, protocol.Synced))
    assert not any(isinstance(order, protocol.Targets) for order in stage.gateway.heard[:synced])
    stage.store.release()


def test_a_task_that_is_not_running_is_no_target_whatever_the_deployments_row_says(stage: Stage) -> None:
    """As after a reboot, when a gateway comes before the actors have looked."""
    id = stage.deploy()
    (task,) = stage.tasks(id)
    stage.directory.drop()
    stage.store.save_behind(replace(task, phase=task.phase.STOPPED))
    stage.gateway.heard.clear()
    table = [*gateway_table.everything(stage.store)]
    assert stage.deployment(id).ready
    assert not [order for order in table if isinstance(order, protocol.Targets)]
    stage._begin()


@pytest.mark.parametrize("count", [1, 10_000])
def test_the_table_is_made_fast_enough_for_the_loop(stage: Stage, count: int) -> None:
    """It is made on the loop's thread, which it may block for 250 ms; the bound allows for slow machines."""
    for _ in range(count):
        stage.row()
    sent: list[object] = []
    stage.traffic._send = sent.append  # type: ignore[method-assign]
    began = clock.monotonic()
    stage.traffic.on_report({"op": "hello", "pid": 1, "epoch": 0})
    took = clock.monotonic() - began
    routes = [order for order in sent if isinstance(order, protocol.Routes)]
    assert sum(len(order.hosts) for order in routes) == count + 2
    assert sum(len(order.deployments) for order in routes) == count
    assert took < 1.0


def test_what_changes_while_the_table_is_read_is_said_once_more(stage: Stage) -> None:
    id, other = stage.row().id, stage.row().id
    host = stage.deployment(id).identity.preview_host
    work: list[Callable[[], None]] = []
    stage.traffic._aside = work.append
    synced: list[bool] = []
    stage.traffic.on_synced = lambda: synced.append(True)
    stage.gateway.replaced()
    stage.traffic.forget_hosts([host])
    stage.traffic.publish_hosts(stage.app.id)
    read = threading.Thread(target=work[0])
    read.start()
    read.join()
    assert not synced
    stage.loop.run()
    stage.loop.run()
    assert synced == [True]
    kinds = [type(order).__name__ for order in stage.gateway.heard]
    assert kinds == ["Reset", "Errors", "Routes", "Routes", "Routes", "Routes", "Synced"]
    assert stage.gateway.leads_to(host) == id, "it is taken, so it was not forgotten"
    assert stage.gateway.leads_to(stage.deployment(other).identity.preview_host) == other


def test_a_second_gateway_makes_the_first_reading_void(stage: Stage) -> None:
    work: list[Callable[[], None]] = []
    stage.traffic._aside = work.append
    stage.gateway.replaced()
    stage.gateway.replaced()
    work[0]()
    assert stage.gateway.of(protocol.Synced) == []
    work[1]()
    assert len(stage.gateway.of(protocol.Synced)) == 1


# ---- changes -----------------------------------------------------------------------------------------------


def test_only_what_changed_is_told(stage: Stage) -> None:
    id = stage.asleep()
    stage.gateway.heard.clear()
    stage.gateway.request(id)
    kinds = [type(order).__name__ for order in stage.gateway.heard]
    assert kinds == ["Targets"], "nothing but where it is stands between a request and its answer"
    stage.gateway.heard.clear()
    stage.ask(id, commands.Change(replicas=2))
    assert {type(order).__name__ for order in stage.gateway.heard} == {"Targets"}


def test_the_phase_goes_to_those_who_wait(stage: Stage) -> None:
    stage.driver.script = NEVER_READY
    id = stage.deploy()
    stage.driver.exit(stage.living(id)[0], CRASH)
    stage.pass_time(1)
    phases = [order.phase for order in stage.gateway.of(protocol.WakePhase) if order.deployment == id]
    assert phases == ["backing_off", "starting"]


def test_a_pause_after_a_crash_comes_with_seconds_to_wait(stage: Stage) -> None:
    id = stage.deploy()
    for _ in range(3):
        stage.driver.exit(stage.living(id)[0], CRASH)
        stage.pass_time(2)
    stage.driver.exit(stage.living(id)[0], CRASH)
    config = stage.gateway.table.deployments[id].config
    assert config.refusal is not None
    assert (config.wakeable, config.refusal.status, config.refusal.code) == (False, 503, "BACKING_OFF")
    assert config.refusal.retry_after == 2, "1.6 s and a jitter of 20 %, in whole seconds"


def test_without_cold_start_nobody_is_held(stage: Stage) -> None:
    stage.driver.script = NEVER_READY
    id = stage.deploy(cold_start_enabled=False)
    assert stage.gateway.request(id) == ["ASLEEP"]


def test_an_idle_close_says_since_when_in_the_boot_clock(stage: Stage) -> None:
    id = stage.deploy()
    stage.gateway.answers = False
    stage.pass_time(100)
    stage.traffic.on_report({"op": "quiet", "deployment": id, "since": boot_ns(stage, seconds_ago=10)})
    assert stage.deployment(id).quiet_since == stage.now - timedelta(seconds=10)
    stage.pass_time(290)
    (close,) = stage.gateway.of(protocol.Close)
    assert (close.mode, close.tasks) == ("idle", stage.living(id))
    assert 0 <= close.since - boot_ns(stage, seconds_ago=300) < 1000, "the clock knows microseconds"


# ---- addresses ---------------------------------------------------------------------------------------------


def test_a_new_deployment_is_known_before_its_address_leads_to_it(stage: Stage) -> None:
    stage.driver.script = NEVER_READY
    id = stage.deploy()
    assert stage.gateway.leads_to(stage.deployment(id).identity.preview_host) == id


def test_an_address_nobody_ever_took_says_what_there_is(stage: Stage) -> None:
    refusal = stage.gateway.leads_to("shop-default-development.localhost")
    assert (refusal.status, refusal.code, refusal.names) == (404, "NO_DEPLOYMENT", ())
    production = stage.deploy(environment="production")
    refusal = stage.gateway.leads_to("shop-default-development.localhost")
    assert set(refusal.names) == {
        "shop-default.localhost",
        stage.deployment(production).identity.preview_host,
    }


def test_addresses_are_read_by_the_loops_thread_so_that_nothing_older_comes_last(stage: Stage) -> None:
    id = stage.row().id
    thread = threading.Thread(target=stage.traffic.publish_hosts, args=(stage.app.id,))
    thread.start()
    thread.join()
    assert stage.gateway.leads_to(stage.deployment(id).identity.preview_host) is None
    stage.traffic.route(id, None, routing(stage.deployment(id)))
    stage.loop.run()
    assert stage.gateway.leads_to(stage.deployment(id).identity.preview_host) == id


# ---- reports -----------------------------------------------------------------------------------------------


def test_load_is_counted_up(stage: Stage) -> None:
    id = stage.deploy()

    def report(inflight: int, held: int, **requests: int) -> None:
        counted = {f"{kind[1:]}": count for kind, count in requests.items()}
        seen = {"inflight": inflight, "held": held, "requests": counted}
        stage.traffic.on_report(
            {"op": "load", "deployments": {id: seen}, "total_inflight": inflight, "total_held": held}
        )

    report(3, 2, _2xx=5, _499=1)
    report(1, 0, _2xx=2, _5xx=1)
    load = stage.traffic.loads[id]
    assert (load.inflight, load.held, load.requests) == (1, 0, {"2xx": 7, "499": 1, "5xx": 1})


def test_what_a_gateway_had_in_flight_ended_with_it(stage: Stage) -> None:
    """It never said that these fell quiet, and shows no load of theirs any more."""
    id = stage.deploy()
    stage.pass_time(200)
    seen = {"inflight": 3, "held": 0, "requests": {"2xx": 1}}
    stage.traffic.on_report({"op": "load", "deployments": {id: seen}, "total_inflight": 3, "total_held": 0})
    stage.gateway.replaced()
    load = stage.traffic.loads[id]
    assert (load.inflight, load.requests) == (0, {"2xx": 1})
    assert stage.deployment(id).idle_deadline == stage.now + timedelta(seconds=300)


def test_the_same_gateway_after_a_break_says_itself_what_is_quiet(stage: Stage) -> None:
    id = stage.deploy()
    stage.pass_time(200)
    stage.gateway.come(activity={id: boot_ns(stage, seconds_ago=50)})
    assert stage.deployment(id).idle_deadline == stage.now + timedelta(seconds=250)
    stage.gateway.come(activity={id: None})
    assert stage.deployment(id).idle_deadline == stage.now + timedelta(seconds=250), "active: not quiet since"


def test_a_wake_for_a_deployment_that_is_no_more_harms_nobody(stage: Stage) -> None:
    stage.traffic.on_report({"op": "wake", "deployment": "gone", "held": 1})
    assert (stage.directory.count(), len(stage.letters)) == (0, 0)


def test_reports_during_the_end_are_dropped(stage: Stage) -> None:
    id = stage.deploy()
    stage.directory.drop()
    stage.traffic.on_report({"op": "wake", "deployment": id, "held": 1})
    stage.traffic.on_report({"op": "lost"})
