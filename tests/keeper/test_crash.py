"""The keeper killed with -9: tasks live on, nothing they wrote is lost, and a new keeper takes them over."""

from __future__ import annotations

import json
import os
import signal
import uuid
from pathlib import Path

import pytest

from tests.keeper.rig import Rig, names_in, python
from tests.support import eventually

# where a process is known by its marker alone, no other may bear the same
UNIQUE = f"task-{uuid.uuid4()}"

NUMBERED = """
import os, time
while not os.path.exists('go'):
    time.sleep(0.01)
for n in range({count}):
    print(n, 'x' * 80)
print('end')
while True:
    time.sleep(1)
"""


def go(rig: Rig, task: str) -> None:
    (rig.data_dir / "work" / task / "go").touch()


def test_twenty_thousand_lines_written_round_a_kill_are_all_there(rig: Rig) -> None:
    rig.launch("t1", python(NUMBERED.format(count=20_000)))
    go(rig, "t1")
    eventually(lambda: len(rig.lines()) >= 100, every=0.001)
    rig.kill_keeper()
    client = rig.restart()
    assert client.tasks["t1"]["exit"] is None
    eventually(lambda: rig.lines(tail=1) == ["end"], timeout=30)
    entries = [e for e in rig.all_lines() if e.stream == "stdout"]
    assert [e.message for e in entries] == [f"{n} {'x' * 80}" for n in range(20_000)] + ["end"]
    assert len({e.id for e in entries}) == len(entries)
    (notice,) = [e.message for e in rig.all_lines() if e.stream == "system"]
    assert "keeper was replaced" in notice


def test_output_of_the_time_without_a_keeper_is_read_by_the_next(rig: Rig) -> None:
    rig.launch("t1", python(NUMBERED.format(count=5_000)))
    rig.kill_keeper()
    go(rig, "t1")
    rig.restart()
    eventually(lambda: rig.lines(tail=1) == ["end"], timeout=30)
    assert [e.message.split()[0] for e in rig.all_lines() if e.stream == "stdout"][:-1] == [
        str(n) for n in range(5_000)
    ]


def test_a_line_begun_before_and_ended_after_is_one_line(rig: Rig) -> None:
    rig.launch("t1", "printf 'Enter '; while [ ! -e go ]; do sleep 0.02; done; echo password; exec sleep 100")
    eventually(lambda: list((rig.data_dir / "logs").rglob("*.seg")))
    rig.kill_keeper()
    rig.restart()
    go(rig, "t1")
    eventually(lambda: rig.lines(stream="stdout") == ["Enter password"])


def test_the_exit_of_an_adopted_task_is_told_with_its_code_where_the_kernel_knows(rig: Rig) -> None:
    rig.launch("t1", "while [ ! -e go ]; do sleep 0.02; done; echo last; exit 9")
    rig.launch("t2", "exec sleep 100")
    rig.kill_keeper()
    client = rig.restart()
    go(rig, "t1")
    exited = rig.exited("t1")
    assert exited["last_lines"] == ["last"]
    os.kill(client.tasks["t2"]["pid"], signal.SIGTERM)
    killed = rig.exited("t2")
    for record, code, number in ((exited, 9, None), (killed, None, signal.SIGTERM)):
        if not record["unknown"]:
            assert (record["code"], record["signal"]) == (code, number)
        assert json.loads((rig.data_dir / "run" / record["task"] / "exit.json").read_text())


def test_an_exit_nobody_saw_is_unknown_and_an_exit_on_record_is_not(rig: Rig) -> None:
    rig.run("seen", "exit 6")
    pid = rig.launch("unseen", "exec sleep 100")["pid"]
    eventually((rig.data_dir / "run" / "unseen" / "launch.json").exists)
    rig.kill_keeper()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), 30)  # until it is reaped the kernel still knows
    client = rig.restart()
    assert client.tasks["seen"]["exit"]["code"] == 6
    told = client.tasks["unseen"]["exit"] or client.wait("exited", task="unseen")
    assert told["unknown"] is True
    assert (told["code"], told["signal"]) == (None, None)


def test_a_launch_whose_record_was_not_written_is_found_by_its_marker(rig: Rig) -> None:
    answer = rig.launch(UNIQUE, "sleep 50 & exec sleep 100")
    rig.kill_keeper()
    (rig.data_dir / "run" / UNIQUE / "launch.json").unlink(missing_ok=True)
    for name in ("never-started", "spare-9999"):
        (rig.data_dir / "run" / name).mkdir()
        (rig.data_dir / "work" / name).mkdir()
    client = rig.restart()
    found = client.tasks[UNIQUE]
    assert (found["pid"], found["start_time"], found["deployment"]) == (
        answer["pid"],
        answer["start_time"],
        "d1",
    )
    assert list(client.tasks) == [UNIQUE]
    assert "never-started" not in [*names_in(rig.data_dir / "run"), *names_in(rig.data_dir / "work")]
    again = rig.launch(UNIQUE, "exec sleep 100")
    assert again["pid"] == answer["pid"], "never a second process"


def test_a_foreign_process_of_the_same_number_is_not_adopted(rig: Rig) -> None:
    rig.launch("t1", "exec sleep 100")
    path = rig.data_dir / "run" / "t1" / "launch.json"
    eventually(path.exists)
    rig.kill_keeper()
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "pid": os.getpid()}))
    client = rig.restart()
    told = client.tasks["t1"]["exit"] or client.wait("exited", task="t1")
    assert told["unknown"] is True


def test_records_of_an_earlier_boot_are_ended(rig: Rig) -> None:
    rig.launch("t1", "exec sleep 100")
    path = rig.data_dir / "run" / "t1" / "launch.json"
    eventually(path.exists)
    rig.kill_keeper()
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": "another"}))
    assert rig.restart().tasks["t1"]["exit"]["unknown"] is True


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"task": "t1"}', b"\0" * 200])
def test_a_record_torn_by_a_crash_is_no_obstacle(rig: Rig, content: bytes) -> None:
    answer = rig.launch(UNIQUE, "exec sleep 100")
    path = rig.data_dir / "run" / UNIQUE / "launch.json"
    eventually(path.exists)
    rig.kill_keeper()
    path.write_bytes(content)
    assert rig.restart().tasks[UNIQUE]["pid"] == answer["pid"]


def test_ids_rise_from_one_keeper_to_the_next(rig: Rig) -> None:
    for round in range(4):
        rig.run(f"t{round}", "seq 3")
        rig.kill_keeper()
        rig.restart()
    ids = [entry.id for entry in rig.read()]
    assert len(ids) == 12 and ids == sorted(set(ids))


def test_a_second_keeper_of_the_same_folder_does_not_start(rig: Rig) -> None:
    pid = rig.keeper_pid
    rig.restart()
    assert rig.keeper_pid == pid
    assert rig.client.welcome["pid"] == pid


def test_a_folder_deeper_than_a_socket_name_may_be(no_leaks: None, tmp_path: Path) -> None:
    rig = Rig(tmp_path / ("deep" * 30) / ("er" * 60))
    try:
        assert rig.run("t1", "pwd")["code"] == 0
        assert rig.lines() == [str(rig.data_dir / "work" / "t1")]
    finally:
        rig.close()
