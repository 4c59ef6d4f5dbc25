"""The keeper replaces its own program in place, under load: same process, no line, child or connection lost."""

from __future__ import annotations

import os
import shutil
import signal
import socket

from platformd.keeper import wire
from platformd.keeper.folders import MOST_SPARES
from platformd.links import start
from tests.keeper.rig import Rig, names_in, python
from tests.keeper.test_sockets import answer, offer, start_gateway
from tests.support import eventually

COUNTING = """
import os
n = 0
while not os.path.exists('stop'):
    print(n, 'z' * 90, flush=n % 7 == 0)
    n += 1
print('end', n)
"""


def upgrade(rig: Rig, folder: str | None = None) -> str:
    argv = start.command()
    rig.client.send({"op": "upgrade", "argv": [*argv[:-1], folder or argv[-1]]})
    return str(rig.client.wait("upgraded")["version"])


def test_nothing_is_lost_under_load(rig: Rig) -> None:
    keeper = rig.keeper_pid
    for number in range(3):
        rig.launch(f"t{number}", python(COUNTING), deployment=f"d{number}")
    rig.launch("asleep", "printf 'half '; while [ ! -e go ]; do sleep 0.05; done; echo line; exit 4")
    eventually(lambda: rig.lines("d0"))
    for turn in range(5):
        assert upgrade(rig) == rig.client.welcome["version"]
        rig.run(f"quick{turn}", "echo quick", deployment="quick")
    assert rig.keeper_pid == keeper
    for number in range(3):
        (rig.data_dir / "work" / f"t{number}" / "stop").touch()
        assert rig.exited(f"t{number}")["code"] == 0
        texts = [entry.message for entry in rig.all_lines(f"d{number}")]
        end, total = texts.pop().split()
        assert end == "end"
        kept = [int(text.split()[0]) for text in texts]
        assert kept == list(range(int(total) - len(kept), int(total)))
        first_dropped = len(list((rig.data_dir / "logs" / f"d{number}" / f"t{number}").iterdir())) == 10
        assert len(kept) == int(total) or first_dropped
    (rig.data_dir / "work" / "asleep" / "go").touch()
    assert rig.exited("asleep")["code"] == 4, "children stay children"
    assert rig.lines(task="asleep") == ["half line"]
    assert len(os.listdir(f"/proc/{keeper}/fd")) < 110 + 4 * MOST_SPARES
    assert rig.keeper_log() == ""


def test_sockets_gateway_and_records_are_handed_over(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        offer(rig, "gateway", listener)
        address = listener.getsockname()
    pid = start_gateway(rig)
    rig.run("dead", "exit 8")
    alive = rig.launch("alive", "exec sleep 100")["pid"]
    upgrade(rig)
    assert answer(address) == pid
    os.kill(pid, signal.SIGKILL)
    rig.client.wait("gateway_exited", pid=pid)
    assert answer(address) == rig.client.wait("gateway_started")["pid"]
    client = rig.connect()
    assert client.tasks["dead"]["exit"]["code"] == 8
    assert client.tasks["alive"]["pid"] == alive
    assert client.welcome["sockets"] == ["gateway"]
    rig.client = client
    before = rig.launch("limits", "ulimit -n; ulimit -n 50; exec cat /proc/self/oom_score_adj")
    assert before["op"] == "launched"
    rig.exited("limits")
    with open("/proc/self/oom_score_adj") as own:
        assert rig.lines(task="limits")[1] == own.read().strip()


def test_an_adopted_task_survives_an_upgrade(rig: Rig) -> None:
    rig.launch("t1", "while [ ! -e go ]; do sleep 0.02; done; exit 5")
    rig.kill_keeper()
    rig.restart()
    upgrade(rig)
    (rig.data_dir / "work" / "t1" / "go").touch()
    exited = rig.exited("t1")
    assert exited["code"] == 5 or exited["unknown"]


def test_other_code_is_seen_by_its_version(rig: Rig) -> None:
    changed = rig.data_dir.parent / "keeper"
    shutil.copytree(start.KEEPER_DIR, changed, ignore=shutil.ignore_patterns("__pycache__"))
    with (changed / "timers.py").open("a") as file:
        file.write("\n# newer\n")
    version = upgrade(rig, str(changed))
    assert version == wire.source_version(changed) != rig.client.welcome["version"]
    assert rig.run("t1", "echo hi")["code"] == 0


def test_a_program_that_cannot_be_run_changes_nothing(rig: Rig) -> None:
    rig.launch("t1", "exec sleep 100")
    rig.client.send({"op": "upgrade", "argv": ["/no/such/python"]})
    assert "/no/such/python" in rig.client.wait("upgrade_failed")["message"]
    rig.client.send({"op": "upgrade"})
    assert rig.client.wait("error")["of"] == "upgrade"
    pid = rig.launch("t2", "exec sleep 100")["pid"]
    eventually(lambda: names_in(f"/proc/{pid}/fd") == ["0", "1", "2"])


def test_a_program_that_breaks_at_its_start_is_as_a_killed_keeper(rig: Rig) -> None:
    pid = rig.launch("t1", "exec sleep 100")["pid"]
    rig.client.send({"op": "upgrade", "argv": ["/bin/false"]})
    assert rig.client.sock.recv(10) == b""
    assert rig.restart().tasks["t1"]["pid"] == pid
