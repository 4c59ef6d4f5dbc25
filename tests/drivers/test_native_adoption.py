"""The serving process or the keeper dies: what lives is taken over, what ended meanwhile is told, nothing doubles."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from platformd.domain.events import Exited, HealthMissed, Launched, LaunchWaits, Probed, Swept
from platformd.domain.spec import Protocol
from platformd.domain.task import TaskPhase
from platformd.drivers import proc
from tests.drivers.rig import Rig
from tests.support import eventually


def test_a_running_task_is_taken_over(either: Rig) -> None:
    net = {"health_path": "/health", "health_interval_secs": 0.05, "health_timeout_secs": 0.1}
    order = either.running(net=net)
    pid, port = either.pid(order), either.wait(order, Probed).address[1]
    task = either.task(order)
    either.restart()
    either.driver.adopt(task, order)
    eventually(lambda: either.driver._book.run(order.task_id).limited)
    assert either.names(order) == []
    assert either.marked(order) == [pid]
    other = either.launch(net={"port": port})
    assert order.task_id in either.wait(other, LaunchWaits).reason.message
    os.kill(pid, signal.SIGSTOP)
    either.wait(order, HealthMissed)
    os.kill(pid, signal.SIGKILL)
    assert either.wait(order, Exited).exit.signal == "SIGKILL"


def test_a_starting_task_goes_on_being_probed(rig: Rig) -> None:
    order = rig.launch({"DELAY_MS": 600})
    rig.wait(order, Launched)
    task = rig.task(order, TaskPhase.STARTING)
    rig.restart()
    rig.driver.adopt(task, order)
    assert rig.wait(order, Probed).address == rig.driver._book.run(order.task_id).address


def test_a_launch_whose_answer_was_lost_is_not_repeated(rig: Rig) -> None:
    """The row says pending; the keeper has started it."""
    order = rig.running()
    pid = rig.pid(order)
    rig.restart()
    rig.driver.launch(order)
    assert rig.wait(order, Launched).pid == pid
    rig.wait(order, Probed)
    assert rig.marked(order) == [pid]


def test_an_exit_of_the_time_between_is_told(rig: Rig) -> None:
    order = rig.running({"ESCAPE": 1})
    task, pid = rig.task(order), rig.pid(order)
    rig.restart(before_start=lambda: end(pid))
    rig.driver.adopt(task, order)
    assert rig.wait(order, Exited).exit.signal == "SIGTERM"
    assert len(rig.marked(order)) == 1
    rig.driver.sweep(task)
    rig.wait(order, Swept)
    assert rig.marked(order) == []


def test_one_that_nobody_knows_is_gone(rig: Rig) -> None:
    order = rig.order()
    task = replace(rig.task(order), handle={"v": 1, "pid": 1, "start_time": 1, "port": 20000, "boot": "x"})
    rig.driver.adopt(task, order)
    assert rig.wait(order, Exited).exit.unknown
    rig.driver.sweep(task)
    rig.wait(order, Swept)


def test_an_actor_made_anew_hears_everything_again(rig: Rig) -> None:
    order = rig.running()
    rig.told.clear()
    rig.driver.adopt(rig.task(order), order)
    eventually(lambda: rig.names(order) == ["Launched", "Probed"])


def test_tasks_live_through_the_keepers_death(rig: Rig) -> None:
    order = rig.running()
    pid = rig.pid(order)
    kill_keeper(rig)
    assert rig.marked(order) == [pid]
    assert rig.names(order) == ["Launched", "Probed"]
    after = rig.running()
    os.kill(pid, signal.SIGTERM)
    rig.wait(order, Exited)
    assert rig.names(after) == ["Launched", "Probed"]


def test_a_task_that_ends_with_the_keeper_is_told(rig: Rig) -> None:
    order = rig.running()
    keeper = rig.serve.keeper_pid
    os.kill(keeper, signal.SIGSTOP)
    os.kill(rig.pid(order), signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    eventually(lambda: any(event["op"] == "resynced" for event in rig.events))
    rig.wait(order, Exited)
    rig.driver.sweep(rig.task(order))
    rig.wait(order, Swept)


def test_a_launch_that_died_with_the_keeper_is_ordered_again(rig: Rig) -> None:
    keeper = rig.serve.keeper_pid
    os.kill(keeper, signal.SIGSTOP)
    orders = [rig.launch() for _ in range(5)]
    os.kill(keeper, signal.SIGKILL)
    for order in orders:
        rig.wait(order, Probed)
        assert rig.names(order) == ["Launched", "Probed"]
        assert len(rig.marked(order)) == 1


def test_one_that_began_without_a_record_never_lives_twice(rig: Rig) -> None:
    """The keeper died between its spawn and its record: the new one knows nothing, the process is there."""
    rig.hears = lambda event: event["op"] not in ("launched", "resynced")
    order = rig.launch()
    first = eventually(lambda: rig.marked(order))
    rig.serve.loop.call(lambda: rig.driver.on_keeper_event({"op": "resynced", "tasks": []}))
    eventually(lambda: not set(first) & set(rig.marked(order)))
    rig.hears = lambda _: True
    assert len(rig.marked(order)) <= 1


def test_reconcile_finds_what_nobody_told(rig: Rig) -> None:
    rig.hears = lambda event: event["op"] != "exited"
    order = rig.running()
    os.kill(rig.pid(order), signal.SIGKILL)
    eventually(lambda: not proc.alive(rig.pid(order), rig.driver._book.run(order.task_id).family.start_time))
    rig.driver.reconcile()
    rig.driver.reconcile()
    assert rig.wait(order, Exited).exit.unknown


def test_reconcile_leaves_the_living_alone(either: Rig) -> None:
    order, worker = either.running(), either.running({"NO_LISTEN": 1}, net={"protocol": Protocol.NONE})
    for _ in range(5):
        either.driver.reconcile()
    after = either.running()
    for each in (order, worker, after):
        assert either.names(each) == ["Launched", "Probed"]


def end(pid: int) -> None:
    process = proc.read(pid)
    assert process is not None
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not proc.alive(pid, process.start_time))


def kill_keeper(rig: Rig) -> None:
    os.kill(rig.serve.keeper_pid, signal.SIGKILL)
    eventually(lambda: any(event["op"] == "resynced" for event in rig.events))
