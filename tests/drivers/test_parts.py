"""The driver's parts by themselves: ports, listeners, launch orders, health, answers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from platformd import ownership
from platformd.domain.events import HealthLost, HealthMissed, HealthRestored
from platformd.domain.spec import DeploymentSpec, Networking, Protocol, Volume
from platformd.drivers.base import LaunchOrder
from platformd.drivers.health import HealthRecord
from platformd.drivers.http_check import final_status
from platformd.drivers.launch_order import NativeSettings, Refused, environment, message
from platformd.drivers.ports import Held, Ports
from tests.drivers.rig import free_ports

# ---- ports ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[int]:
    """A port that a listener of ours holds, and after it some that nobody does."""
    with free_ports() as sock:
        yield sock.getsockname()[1]


def test_ports_are_never_shared_nor_strangers(stranger: int) -> None:
    ports = Ports(range(stranger, stranger + 3))
    taken = [ports.take("a"), ports.take("b")]
    assert sorted(taken) == [stranger + 1, stranger + 2]
    assert ports.take("c") is None
    assert ports.take("a") == taken[0], "asked again, it keeps its port"
    ports.give_back("a")
    assert ports.take("c") == taken[0]


def test_a_port_given_back_rests() -> None:
    ports = Ports(range(24000, 24064))
    first = ports.take("a")
    ports.give_back("a")
    assert ports.take("b") != first


def test_a_wildcard_or_ipv6_listener_holds_a_port() -> None:
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with socket.socket(family) as sock:
            sock.bind((address, 0))
            sock.listen()
            port = sock.getsockname()[1]
            assert Ports(range(port, port + 1)).take("a") is None
            assert Ports(range(1, 2)).take_fixed("a", port) == Held(port, None)


def test_a_closed_connection_keeps_a_chosen_port_but_not_a_fixed_one() -> None:
    """TIME_WAIT: a program without SO_REUSEADDR could not listen there, one that was told the port is let try."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.recv(1)
        client.close()
    assert Ports(range(port, port + 1)).take("a") is None
    assert Ports(range(1, 2)).take_fixed("a", port) is None


def test_a_fixed_port_names_its_holder() -> None:
    ports = Ports(range(24100, 24101))
    assert ports.take("a") == 24100
    assert ports.take_fixed("b", 24100) == Held(24100, "a")
    assert ports.take_fixed("a", 24100) is None


# ---- listeners -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ways", [ownership.open_listeners, ownership.ProcListeners])
@pytest.mark.parametrize(
    ("family", "address", "reachable"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::1", False),
    ],
)
def test_the_listener_a_connection_would_reach(
    ways: type, family: int, address: str, reachable: bool
) -> None:
    found = ways()
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        port = sock.getsockname()[1]
        assert found.at(port) is None, "bound is not listening"
        sock.listen()
        listener = found.at(port)
        assert (listener is not None) == reachable
        if listener is not None:
            assert listener == ownership.Listener(os.fstat(sock.fileno()).st_ino, os.getuid())
            assert ownership.holder(listener.inode, [1, os.getpid()]) == os.getpid()
            assert ownership.holder(listener.inode, [1]) is None
    assert found.at(port) is None
    found.close()


# ---- launch orders -----------------------------------------------------------------------------------------------


def an_order(env: Mapping[str, str] | None = None, **spec: object) -> LaunchOrder:
    return LaunchOrder(
        task_id="t1",
        deployment_id="d1",
        slot=2,
        generation=3,
        app_name="demo",
        environment="production",
        spec=DeploymentSpec(**spec),  # type: ignore[arg-type]
        executable=Path("/artifacts/abc"),
        env=env or {},
    )


def test_the_keepers_message() -> None:
    settings = NativeSettings(data_dir=Path("/data-dir"), run_as=(1234, 1235))
    order = an_order(args=("--fast",), env={"A": "1"}, networking=Networking(protocol=Protocol.HTTP_FD))
    made = message(order, 20001, {"v": 1}, settings)
    assert made["op"] == "launch"
    assert made["argv"] == ["/artifacts/abc", "--fast"]
    assert made["listen"] == ["127.0.0.1", 20001]
    assert "PORT" not in made["env"]
    if os.geteuid() == 0:
        assert (made["uid"], made["gid"]) == (1234, 1235)
    plain = message(
        replace(order, spec=DeploymentSpec(command=("/bin/cat", "x"), args=("y",))), 20001, {}, settings
    )
    assert plain["argv"] == ["/bin/cat", "x", "y"]
    assert "listen" not in plain


def test_its_environment_cannot_lose_what_finds_it() -> None:
    forged = {"TASK_ID": "x", "DEPLOYMENT_ID": "x", "PORT": "1", "HOST": "::", "PATH": "/opt/bin"}
    made = environment(an_order(env=forged), 20001)
    assert (made["TASK_ID"], made["DEPLOYMENT_ID"], made["PORT"]) == ("t1", "d1", "20001")
    assert (made["HOST"], made["PATH"]) == ("::", "/opt/bin")


def test_volumes_are_resolved_at_each_start(tmp_path: Path) -> None:
    data_dir, root = tmp_path / "state", tmp_path / "shared"
    for folder in (
        data_dir / "volumes" / "v",
        data_dir / "artifacts",
        root / "inner",
        tmp_path / "elsewhere",
    ):
        folder.mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "deep").symlink_to(data_dir)
    settings = NativeSettings(data_dir=data_dir, volume_roots=(root,))

    def refusal(path: Path) -> str | None:
        try:
            message(
                an_order(volumes=(Volume(host_path=str(path), container_path=str(path)),)), 1, {}, settings
            )
        except Refused as refused:
            return refused.reason.code
        return None

    assert refusal(root / "inner") is None
    assert refusal(data_dir / "volumes" / "v") is None
    assert refusal(root / "missing") == "VOLUME_MISSING"
    refused = [
        root / "link",
        root / "deep",
        data_dir,
        data_dir / "artifacts",
        tmp_path / "elsewhere",
        Path("/etc"),
    ]
    assert {path: refusal(path) for path in refused} == dict.fromkeys(refused, "VOLUME_NOT_ALLOWED")
    over = NativeSettings(data_dir=data_dir, volume_roots=(tmp_path,))
    with pytest.raises(Refused):
        message(
            an_order(volumes=(Volume(host_path=str(tmp_path), container_path=str(tmp_path)),)), 1, {}, over
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose")
def test_users() -> None:
    settings = NativeSettings(data_dir=Path("/data-dir"))

    def ids(user: str | None) -> tuple[object, object]:
        made = message(an_order(user=user), 1, {}, settings)
        return made["uid"], made["gid"]

    assert ids(None) == (65534, 65534)
    assert ids("1000:1001") == (1000, 1001)
    assert ids("nobody")[0] == 65534
    for wrong in ("root", "0", "0:0", "1000:0", "", "no such", "-1", "1:x"):
        with pytest.raises(Refused):
            ids(wrong)


# ---- health and answers ------------------------------------------------------------------------------------------


def test_three_misses_then_a_minute() -> None:
    record = HealthRecord("/health")
    assert [record.observe(status, at) for at, status in enumerate((200, None, 503, 204, 302, None))] == [
        None
    ] * 6
    assert record.observe(500, 6) == HealthMissed()
    assert record.observe(500, 60) is None
    assert record.observe(200, 61) == HealthRestored()
    assert [record.observe(None, at) for at in (70, 71, 72)] == [None, None, HealthMissed()]
    assert record.observe(None, 131) is None
    lost = record.observe(None, 132)
    assert isinstance(lost, HealthLost)
    assert "no answer" in lost.reason.message
    assert record.observe(None, 300) is None, "told once"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.0 404\r\n", 404),
        (b"HTTP/1.1 204 No", None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\n", 503),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n", None),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"HTTP/1.1 2000 OK\r\n", None),
        (b"", None),
    ],
)
def test_statuses(answer: bytes, status: int | None) -> None:
    assert final_status(answer)[0] == status
