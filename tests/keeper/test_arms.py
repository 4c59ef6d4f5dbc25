"""Launch orders that are held for the gateway to fire."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from platformd.keeper.folders import MOST_SPARES
from tests.keeper.rig import Client, Rig
from tests.support import eventually

IDLE = "exec sleep 100"


@pytest.fixture
def gateway(rig: Rig) -> Client:
    """A second connection, which is not serve's."""
    return rig.connect(hello=False)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def arm(rig: Rig, task: str, script: str = IDLE, **fields: object) -> None:
    rig.client.send({**rig.order(task, script, **fields), "op": "arm"})


def fire(gateway: Client, task: str) -> dict[str, object]:
    gateway.send({"op": "fire", "task": task})
    return gateway.wait("launched", "unarmed", task=task)


def test_what_is_armed_starts_when_it_is_fired_and_once(rig: Rig, gateway: Client) -> None:
    arm(rig, "t1")
    rig.client.ping()
    fired = fire(gateway, "t1")
    assert fired["op"] == "launched"
    assert rig.launch("t1", IDLE)["pid"] == fired["pid"]
    assert fire(gateway, "t1")["pid"] == fired["pid"], "it runs, so it is not started again"


def test_serve_may_launch_what_it_armed(rig: Rig, gateway: Client) -> None:
    arm(rig, "t1")
    launched = rig.launch("t1", IDLE)
    assert fire(gateway, "t1")["pid"] == launched["pid"]


def test_what_is_disarmed_is_not_started(rig: Rig, gateway: Client) -> None:
    arm(rig, "t1")
    rig.client.send({"op": "disarm", "task": "t1"})
    assert fire(gateway, "t1")["op"] == "unarmed", "serve's word came first"
    rig.client.wait("disarmed", task="t1")


def test_what_was_fired_cannot_be_disarmed_and_serve_hears_of_it(rig: Rig, gateway: Client) -> None:
    arm(rig, "t1")
    rig.client.ping()
    fired = fire(gateway, "t1")
    rig.client.send({"op": "disarm", "task": "t1"})
    told = rig.client.wait("launched", "disarmed", task="t1")
    assert told["op"] == "launched" and told["pid"] == fired["pid"]
    assert {"slot", "generation", "handle", "deployment", "boot_ns", "start_time"} <= told.keys()


def test_of_one_that_ends_at_once_serve_hears_the_start_before_the_end(rig: Rig, gateway: Client) -> None:
    arm(rig, "t1", "exit 3")
    rig.client.ping()
    fire(gateway, "t1")
    first = rig.client.wait("launched", "exited", task="t1")
    assert first["op"] == "launched"
    assert rig.exited("t1")["code"] == 3


def test_a_port_that_was_taken_meanwhile_is_nobodys_start(rig: Rig, gateway: Client, taken: int) -> None:
    arm(rig, "t1", handle={"port": taken})
    rig.client.ping()
    assert fire(gateway, "t1")["op"] == "unarmed"
    failed = rig.launch("t1", IDLE)
    assert (failed["op"], failed["code"]) == ("launch_failed", "EADDRINUSE")


def test_its_folders_are_there_beforehand_and_go_when_it_is_disarmed(rig: Rig, gateway: Client) -> None:
    arm(rig, "t1")
    rig.client.ping()
    assert (rig.data_dir / "work/t1").is_dir() and (rig.data_dir / "run/t1/out").is_fifo()
    rig.client.send({"op": "disarm", "task": "t1"})
    rig.client.wait("disarmed", task="t1")
    assert not (rig.data_dir / "work/t1").exists() and not (rig.data_dir / "run/t1").exists()
    assert rig.launch("t1", "pwd; exec sleep 100")["op"] == "launched"
    eventually(lambda: rig.lines(task="t1") == [str(rig.data_dir / "work/t1")])


@pytest.mark.parametrize("script", ["pwd; exec sleep 100", "pwd; exit 3"])
def test_what_is_fired_runs_in_them_and_is_heard(rig: Rig, gateway: Client, script: str) -> None:
    arm(rig, "t1", script)
    rig.client.ping()
    fire(gateway, "t1")
    eventually(lambda: rig.lines(task="t1") == [str(rig.data_dir / "work/t1")])


def test_many_that_come_and_go_leave_no_folders_and_no_more_descriptors(rig: Rig) -> None:
    """So many as there are spares have folders of their own, the others get theirs when they start."""

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{rig.keeper_pid}/fd"))

    for _ in range(2):
        for number in range(300):
            arm(rig, f"t{number}")
        rig.client.ping()
        for number in range(300):
            rig.client.send({"op": "disarm", "task": f"t{number}"})
        rig.client.ping()
        eventually(lambda: not [*(rig.data_dir / "work").glob("t*"), *(rig.data_dir / "run").glob("t*")])
        eventually(lambda: descriptors() < MOST_SPARES * 4 + 100)


def test_another_serve_begins_with_nothing_armed(rig: Rig, gateway: Client) -> None:
    arm(rig, "t1")
    rig.client.ping()
    rig.client = rig.connect()
    assert fire(gateway, "t1")["op"] == "unarmed"


def test_a_program_that_is_not_there_fails_for_serve_to_tell(rig: Rig, gateway: Client) -> None:
    rig.client.send({**rig.order("t1", ["/no/such/program"]), "op": "arm"})
    rig.client.ping()
    assert fire(gateway, "t1")["op"] == "unarmed"
    assert rig.launch("t1", ["/no/such/program"])["code"] == "ENOENT"


def test_only_serve_arms(rig: Rig, gateway: Client) -> None:
    gateway.send({**rig.order("t1", IDLE), "op": "arm"})
    assert gateway.wait("error", of="arm")["message"]
    assert fire(gateway, "t1")["op"] == "unarmed"
