"""Ends of native tasks: nothing survives, nothing foreign is touched. With cgroups and without."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from platformd.domain.events import Exited, Launched, Probed, Swept
from platformd.domain.spec import Protocol, StopPolicy
from platformd.domain.task import TaskPhase
from platformd.drivers import proc
from tests.drivers.rig import Rig
from tests.support import eventually


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that is no task."""
    process = subprocess.Popen(["sleep", "300"], start_new_session=True)
    yield process
    assert process.poll() is None, "the bystander was killed"
    process.kill()
    process.wait()


def test_sigterm_reaches_every_process(either: Rig) -> None:
    order = either.running({"CHILDREN": 3, "DAEMON": 1})
    pids = eventually(lambda: len(either.marked(order)) >= 5 and either.marked(order))
    either.driver.signal(either.task(order), "SIGTERM")
    assert either.wait(order, Exited).exit.signal == "SIGTERM"
    eventually(lambda: not either.marked(order))
    assert len(pids) >= 5
    either.driver.sweep(either.task(order))
    either.wait(order, Swept)


def test_an_exit_after_sigterm_keeps_its_code(rig: Rig) -> None:
    """T20: slow exit, within its grace."""
    order = rig.running({"SLOW_TERM_MS": 300})
    rig.driver.signal(rig.task(order), "SIGTERM")
    exited = rig.wait(order, Exited).exit
    assert (exited.code, exited.signal) == (0, None)


def test_what_ignores_sigterm_is_killed(either: Rig) -> None:
    order = either.running({"IGNORE_TERM": 1, "CHILDREN": 2})
    either.driver.signal(either.task(order), "SIGTERM")
    either.driver.kill(either.task(order))
    assert either.wait(order, Exited).exit.signal == "SIGKILL"
    either.wait(order, Swept)
    assert not either.facts(order, Exited)[0].exit.oom_killed
    assert either.marked(order) == []
    assert either.names(order)[:4] == ["Launched", "Probed", "Exited", "Swept"]


def test_leftovers_of_an_exited_task_are_swept(either: Rig, bystander: subprocess.Popen[bytes]) -> None:
    """T19: double forks and sessions of their own."""
    order = either.launch({"ESCAPE": 1, "CHILDREN": 2, "EXIT_MS": 100}, net={"protocol": Protocol.NONE})
    either.wait(order, Exited)
    assert len(either.marked(order)) == 3
    either.driver.sweep(either.task(order))
    either.wait(order, Swept)
    assert either.marked(order) == []


def test_a_cgroup_holds_even_what_hides(rig: Rig) -> None:
    """A daemon with an empty environment in a session of its own, which started before the cgroup was there."""
    if not rig.driver._limits.cgroups.usable:
        pytest.skip("no cgroups here")
    before = {pid for pid in proc.table() if proc.command(pid) == "sleep 300"}
    order = rig.running({"ESCAPE": 1, "BARE": 1, "DELAY_MS": 50})
    hidden = {pid for pid in proc.table() if proc.command(pid) == "sleep 300"} - before
    assert len(hidden) == 1
    late = rig.running({"ESCAPE": 1, "BARE": 1, "DELAY_MS": 0})
    for each in (order, late):
        rig.driver.kill(rig.task(each))
        rig.wait(each, Swept)


def test_swept_comes_soon_after_a_plain_exit(rig: Rig) -> None:
    order = rig.running()
    eventually(lambda: rig.driver._book.run(order.task_id).limited)
    rig.driver.signal(rig.task(order), "SIGTERM")
    rig.wait(order, Exited)
    rig.driver.sweep(rig.task(order))
    rig.wait(order, Swept)
    assert rig.at(order, Swept) - rig.at(order, Exited) < 0.5


def test_two_thousand_children(either: Rig) -> None:
    """T19."""
    order = either.running({"CHILDREN": 2000}, res={"memory": "1Gi"})
    assert len(either.marked(order)) == 2001
    either.driver.kill(either.task(order))
    either.wait(order, Swept, timeout=30)
    assert either.marked(order) == []


def test_a_chain_of_forks_is_caught_up_with(either: Rig) -> None:
    """Each parent exits as soon as it has a child: 3,000 in a row, one a millisecond."""
    order = either.launch({"BOMB": 3000, "NO_LISTEN": 1}, net={"protocol": Protocol.NONE})
    either.wait(order, Launched)
    eventually(lambda: len(either.marked(order)) >= 2)
    either.driver.kill(either.task(order))
    either.wait(order, Swept, timeout=20)
    assert either.marked(order) == []


def test_a_row_that_names_a_foreign_process_harms_nobody(
    rig: Rig, bystander: subprocess.Popen[bytes]
) -> None:
    """T5: pid, start time and boot of the bystander, but not the marker."""
    order = rig.running()
    foreign = proc.read(bystander.pid)
    assert foreign is not None
    task = replace(
        rig.task(order),
        id="00000000-0000-4000-8000-000000000000",
        handle={**rig.task(order).handle, "pid": bystander.pid, "start_time": foreign.start_time},
    )
    victim = replace(order, task_id=task.id)
    rig.orders[task.id] = victim
    rig.driver.signal(task, "SIGKILL")
    rig.driver.kill(task)
    rig.wait(victim, Swept)
    rig.driver.adopt(task, victim)
    assert rig.wait(victim, Exited).exit.unknown
    rig.driver.kill(task)
    rig.driver.end(task, StopPolicy(grace_secs=0.1))
    rig.driver.sweep(task)
    eventually(lambda: len(rig.facts(victim, Swept)) >= 2)
    assert bystander.poll() is None


def test_end_blocks_until_nothing_lives(rig: Rig) -> None:
    obeys = rig.running({"CHILDREN": 2})
    stubborn = rig.running({"IGNORE_TERM": 1, "CHILDREN": 2})
    for order in (obeys, stubborn):
        rig.driver.end(rig.task(order), StopPolicy(grace_secs=0.3))
        assert rig.marked(order) == []
    assert rig.wait(obeys, Exited).exit.signal == "SIGTERM"
    assert rig.wait(stubborn, Exited).exit.signal == "SIGKILL"


def test_a_task_forgotten_before_it_began_is_ended(rig: Rig) -> None:
    held: list[dict[str, object]] = []
    rig.hears = lambda event: event["op"] != "launched" or held.append(event)  # type: ignore[func-returns-value]
    order = rig.launch()
    eventually(lambda: held)
    rig.driver.forget(rig.task(order, TaskPhase.PENDING))
    rig.hears = lambda _: True
    rig.serve.loop.call(lambda: rig.driver.on_keeper_event(held[0]))
    eventually(lambda: not rig.marked(order))
    eventually(lambda: not (rig.data_dir / "run" / order.task_id).exists())


def test_forget_gives_everything_back(rig: Rig) -> None:
    order = rig.running()
    eventually(lambda: rig.driver._book.run(order.task_id).limited)
    rig.gone(order)
    eventually(lambda: order.task_id not in rig.driver._limits.cgroups.left_behind())
    eventually(lambda: not (rig.data_dir / "run" / order.task_id).exists())
    eventually(lambda: not (rig.data_dir / "work" / order.task_id).exists())


def test_strays_of_this_data_directory_are_ended_and_only_those(rig: Rig, make_rig: object) -> None:
    """T4: their rows are gone."""
    other = make_rig()  # type: ignore[operator]
    neighbour = other.running()
    known, stray = rig.running(), rig.running({"DAEMON": 1})
    rig.restart()
    rig.driver.end_strays([known.task_id])
    eventually(lambda: not rig.marked(stray))
    eventually(lambda: not (rig.data_dir / "run" / stray.task_id).exists())
    assert rig.marked(known)
    assert rig.marked(neighbour)


def test_an_exit_by_signal_is_named(rig: Rig) -> None:
    order = rig.running()
    os.kill(rig.pid(order), signal.SIGRTMIN + 3)
    assert rig.wait(order, Exited).exit.signal == "SIGRTMIN+3"


def test_a_port_is_free_again_when_swept(rig: Rig) -> None:
    first = rig.running()
    port = rig.wait(first, Probed).address[1]
    rig.driver.kill(rig.task(first))
    rig.wait(first, Swept)
    second = rig.launch(net={"port": port})
    assert rig.wait(second, Probed).address == ("127.0.0.1", port)
