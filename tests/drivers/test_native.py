"""The native driver with real processes: readiness, exits, refusals."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from platformd.domain.events import Exited, Launched, LaunchFailed, LaunchWaits, Probed, Swept
from platformd.domain.spec import Protocol
from platformd.drivers import proc
from tests.drivers.rig import Rig, free_ports
from tests.support import eventually


def get(address: tuple[str, int] | None, path: str = "/") -> int:
    assert address is not None
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=5) as answer:
        return int(answer.status)


def test_a_task_is_launched_probed_and_serves(rig: Rig) -> None:
    order = rig.launch()
    probed = rig.wait(order, Probed)
    launched = rig.facts(order, Launched)[0]
    assert rig.names(order) == ["Launched", "Probed"]
    assert launched.address == probed.address
    assert launched.handle["pid"] == launched.pid
    assert get(probed.address) == 200


def test_it_sees_the_declared_environment_and_runs_as_nobody(rig: Rig) -> None:
    order = rig.running({"GREETING": "hi", "TASK_ID": "forged", "PORT": "1", "APP_NAME": "mine"})
    launched = rig.wait(order, Launched)
    seen = proc.environ(rig.pid(order))
    assert seen["TASK_ID"] == order.task_id
    assert seen["DEPLOYMENT_ID"] == order.deployment_id
    assert seen["PORT"] == str(launched.address[1])
    assert (seen["HOST"], seen["APP_NAME"], seen["ENVIRONMENT"]) == ("127.0.0.1", "mine", "production")
    assert seen["GREETING"] == "hi"
    assert set(seen) == {
        *("TASK_ID", "DEPLOYMENT_ID", "PORT", "HOST", "APP_NAME", "ENVIRONMENT", "GREETING", "PATH")
    }
    assert proc.uid(rig.pid(order)) == 65534


@pytest.mark.parametrize("where", ["ANY", "ANY6", "CHILD", "DAEMON"])
def test_any_listener_of_the_task_counts(rig: Rig, where: str) -> None:
    """On all addresses, in a child, and in a daemon that left its session."""
    order = rig.running({where: 1})
    assert get(rig.wait(order, Probed).address) == 200


def test_a_late_listener_is_ready_when_it_listens(rig: Rig) -> None:
    order = rig.launch({"DELAY_MS": 300})
    rig.wait(order, Probed)
    assert 0.28 < rig.at(order, Probed) - rig.at(order, Launched) < 0.8


def test_health_decides_when_there_is_a_path(rig: Rig) -> None:
    """W6: it listens at 100 ms and is healthy from 800 ms on."""
    order = rig.launch({"DELAY_MS": 100, "SICK_MS": 800}, net={"health_path": "/health"})
    rig.wait(order, Probed)
    assert 0.78 < rig.at(order, Probed) - rig.at(order, Launched) < 1.2


@pytest.mark.parametrize("trouble", ["REDIRECT", "MUTE", "NO_LISTEN"])
def test_what_does_not_answer_well_never_gets_ready(rig: Rig, trouble: str) -> None:
    net = {"health_path": "/health", "health_timeout_secs": 0.1}
    sick = rig.launch({trouble: 1}, net=net)
    well = rig.running({"DELAY_MS": 400}, net=net)
    assert rig.names(sick) == ["Launched"], "it had as long as the other"
    assert rig.names(well) == ["Launched", "Probed"]


def test_exit_before_ready_is_told_at_once(rig: Rig) -> None:
    order = rig.launch({"EXIT_MS": 30, "EXIT": 3})
    exited = rig.wait(order, Exited).exit
    assert (exited.code, exited.signal, exited.oom_killed) == (3, None, False)
    assert exited.last_lines == ("leaving",)
    assert rig.at(order, Exited) - rig.at(order, Launched) < 0.5
    rig.driver.sweep(rig.task(order))
    rig.wait(order, Swept)
    assert rig.names(order) == ["Launched", "Exited", "Swept"]


def test_a_worker_is_ready_after_a_second_of_life(rig: Rig) -> None:
    order = rig.launch({"NO_LISTEN": 1}, net={"protocol": Protocol.NONE})
    assert rig.wait(order, Probed).address is None
    assert 0.95 < rig.at(order, Probed) - rig.at(order, Launched) < 1.5
    assert "PORT" not in proc.environ(rig.pid(order))


def test_a_worker_that_ends_sooner_is_not(rig: Rig) -> None:
    order = rig.launch({"EXIT_MS": 200}, net={"protocol": Protocol.NONE})
    assert rig.wait(order, Exited).exit.clean
    later = rig.running({"NO_LISTEN": 1}, net={"protocol": Protocol.NONE})
    assert rig.names(later) == ["Launched", "Probed"]
    assert rig.names(order) == ["Launched", "Exited"]


def test_an_inherited_listener_is_ready_at_the_first_answer(rig: Rig) -> None:
    order = rig.launch({"DELAY_MS": 300}, net={"protocol": Protocol.HTTP_FD})
    probed = rig.wait(order, Probed)
    assert rig.at(order, Probed) - rig.at(order, Launched) > 0.25
    assert get(probed.address) == 200
    seen = proc.environ(rig.pid(order))
    assert "PORT" not in seen
    assert (seen["LISTEN_FDS"], seen["LISTEN_PID"]) == ("1", str(rig.pid(order)))


def test_a_stranger_on_the_port_never_counts(rig: Rig) -> None:
    """Somebody takes the port between the choice and the task's own attempt."""
    order = rig.launch({"DELAY_MS": 300, "NO_LISTEN": 1})
    with socket.create_server(("127.0.0.1", rig.wait(order, Launched).address[1])):
        eventually(lambda: rig.said(order, "is not part of this task"))
        rig.running({"DELAY_MS": 200})
    assert rig.names(order) == ["Launched"]
    assert sum("is not part of this task" in text for task, text in rig.lines if task == order.task_id) == 1


def test_a_fixed_port_that_is_held_makes_it_wait(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        order = rig.launch(net={"port": port})
        reason = rig.wait(order, LaunchWaits).reason
        assert reason.code == "PORT_IN_USE"
        assert f"port {port} is held by pid" in reason.message
        assert f"pid {os.getpid()} " in reason.message
    rig.driver.launch(order)
    assert rig.wait(order, Probed).address == ("127.0.0.1", port)
    other = rig.launch(net={"port": port})
    assert order.task_id in rig.wait(other, LaunchWaits).reason.message


def test_no_port_left(make_rig: Callable[..., Rig]) -> None:
    """T18: three ports, one of them a stranger's, three tasks."""
    with free_ports() as stranger:
        port = stranger.getsockname()[1]
        rig = make_rig(task_ports=range(port, port + 3))
        first, second = rig.running(), rig.running()
        third = rig.launch()
        assert rig.wait(third, LaunchWaits).reason.code == "PORTS_EXHAUSTED"
        used = {rig.wait(order, Probed).address[1] for order in (first, second)}
        assert used == {port + 1, port + 2}
        rig.gone(first)
        rig.driver.launch(third)
        rig.wait(third, Probed)


def test_what_cannot_run_fails_for_good(rig: Rig, room: Path) -> None:
    text = room / "notes.txt"
    text.write_text("hello\n")
    text.chmod(0o555)
    secret = room / "secret"
    secret.write_text("#!/bin/sh\n")
    secret.chmod(0o600)
    cases = [
        ({"executable": room / "missing"}, "EXECUTABLE_MISSING"),
        ({"executable": text}, "NOT_EXECUTABLE"),
        ({"executable": secret}, "EXECUTABLE_FORBIDDEN"),
        ({"executable": None}, "NO_EXECUTABLE"),
        ({"user": "root"}, "USER_NOT_ALLOWED"),
        ({"args": ("x" * 3_000_000,)}, "LAUNCH_FAILED"),
        ({"env": {"NUL": "a\0b"}}, "LAUNCH_FAILED"),
        ({"user": "no-such-user"}, "USER_UNKNOWN"),
    ]
    for spec, code in cases:
        order = rig.launch(**spec)
        assert rig.wait(order, LaunchFailed).reason.code == code
        assert rig.names(order) == ["LaunchFailed"]


def test_two_hundred_at_once(rig: Rig) -> None:
    orders = [rig.launch() for _ in range(200)]
    for order in orders:
        rig.wait(order, Probed, timeout=30)
    assert len({rig.wait(order, Probed).address for order in orders}) == 200
    assert all(rig.names(order) == ["Launched", "Probed"] for order in orders)


def test_a_script_with_env_finds_its_interpreter(rig: Rig, room: Path) -> None:
    script = room / "hello.py"
    script.write_text("#!/usr/bin/env python3\nimport time\nprint('hello')\ntime.sleep(60)\n")
    script.chmod(0o555)
    order = rig.launch(executable=script, net={"protocol": Protocol.NONE})
    rig.wait(order, Probed)
