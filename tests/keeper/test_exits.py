"""How tasks end, and that the record of it stands before anyone is told."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from platformd.keeper import linux
from tests.keeper.rig import Rig, names_in
from tests.support import eventually


def test_codes_and_signals_are_told_and_on_disk(rig: Rig) -> None:
    for task, script, code, number in (
        ("zero", "exit 0", 0, None),
        ("high", "exit 255", 255, None),
        ("killed", "kill -KILL $$", None, signal.SIGKILL),
        ("terminated", "kill -TERM $$", None, signal.SIGTERM),
        ("core", "kill -SEGV $$", None, signal.SIGSEGV),
    ):
        exited = rig.run(task, script)
        assert (exited["code"], exited["signal"], exited["unknown"]) == (code, number, False), task
        record = json.loads((rig.data_dir / "run" / task / "exit.json").read_text())
        assert record == {key: exited[key] for key in record}
        assert 0 <= linux.boot_ns() - exited["boot_ns"] < 20_000_000_000


def test_the_launch_record_is_written_behind(rig: Rig) -> None:
    answer = rig.launch("t1", "exec sleep 100", handle={"port": 20_001})
    path = rig.data_dir / "run" / "t1" / "launch.json"
    record = json.loads(eventually(path.read_text))
    expected = {
        "deployment": "d1",
        "slot": 0,
        "generation": 1,
        "boot_id": linux.boot_id(),
        "handle": {"port": 20_001},
    }
    assert record == {**expected, **{key: answer[key] for key in ("task", "pid", "start_time", "boot_ns")}}
    assert answer["start_time"] == linux.start_time(answer["pid"])


def test_orphans_and_zombies_are_reaped(rig: Rig) -> None:
    script = (
        "for i in $(seq 300); do (setsid sh -c 'sleep 0.3 & exec sleep 0.2' &) & done; "
        "wait; echo ready; exec sleep 100"
    )
    rig.launch("t1", script)
    eventually(lambda: rig.lines() == ["ready"], timeout=30)
    own = Path(f"/proc/{rig.keeper_pid}/task/{rig.keeper_pid}/children")
    eventually(lambda: len(own.read_text().split()) == 1, timeout=30)


def test_a_double_forked_process_becomes_the_keepers_child(rig: Rig) -> None:
    rig.run("t1", "setsid sh -c 'echo $$; exec sleep 100' & sleep 0.3")
    (stray,) = rig.lines()
    parent = Path(f"/proc/{stray}/stat").read_text().rpartition(") ")[2].split()[1]
    assert int(parent) == rig.keeper_pid
    rig.pids.append(int(stray))


def test_forgetting_removes_folders_but_not_output(rig: Rig) -> None:
    rig.launch("alive", "exec sleep 100")
    rig.client.send({"op": "forget", "task": "alive"})
    rig.run("t1", "echo kept; mkdir -p deep/er; touch deep/er/file; chmod 0 deep")
    rig.client.send({"op": "forget", "task": "t1"})
    rig.client.send({"op": "forget", "task": "never-heard-of"})
    rig.client.ping()
    eventually(lambda: "t1" not in names_in(rig.data_dir / "run"))
    eventually(lambda: not [n for n in names_in(rig.data_dir / "work") if n.startswith(("t1", "trash"))])
    assert "alive" in names_in(rig.data_dir / "run")
    assert rig.lines(task="t1") == ["kept"]
    assert list(rig.connect().tasks) == ["alive"]


def test_after_a_hello_serve_knows_all_there_is(rig: Rig) -> None:
    alive = rig.launch("alive", "exec sleep 100", handle={"port": 20_001})
    rig.run("dead", "exit 3")
    second = rig.connect()
    assert second.welcome["pid"] == rig.keeper_pid
    assert second.tasks["alive"] == {
        **alive,
        "op": "task",
        "deployment": "d1",
        "slot": 0,
        "generation": 1,
        "handle": {"port": 20_001},
        "exit": None,
    }
    assert second.tasks["dead"]["exit"]["code"] == 3
    assert rig.client.wait("superseded")["pid"] == os.getpid()
    assert rig.client.sock.recv(10) == b"", "the older connection is closed"
    os.kill(alive["pid"], signal.SIGTERM)
    assert second.wait("exited", task="alive")["signal"] == signal.SIGTERM


def test_who_speaks_another_protocol_or_nonsense_is_turned_away(rig: Rig) -> None:
    stranger = rig.connect(hello=False)
    stranger.send({"op": "hello", "v": 99, "pid": 1})
    assert "99" in stranger.wait("refused")["message"]
    rude = rig.connect(hello=False)
    rude.sock.send(b"[1,2")
    assert rude.sock.recv(10) == b""
    early = rig.connect(hello=False)
    early.send(rig.order("t1", "true"))
    assert "before hello" in early.wait("error")["message"]
    rig.client.send({"op": "dance"})
    assert "dance" in rig.client.wait("error")["message"]
    for broken in (
        {"op": "launch"},
        {"op": "log", "task": "x"},
        {"op": "gateway"},
        {"op": "take"},
        {"op": 7},
    ):
        rig.client.send(broken)
    assert rig.client.ping() < 5
    assert rig.keeper_log() == ""
