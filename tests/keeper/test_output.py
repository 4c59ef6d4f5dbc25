"""What tasks write: all of it, by line, bounded, and never at the cost of anyone else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from platformd.keeper import linux, segments
from tests.keeper.rig import Rig, python
from tests.support import eventually

FLOOD = "import os\nline = b'y' * 99 + b'\\n'\nblock = line * 600\nwhile True: os.write(1, block)\n"


def test_both_streams_are_stored_by_line_with_rising_ids(rig: Rig) -> None:
    rig.run(
        "t1",
        "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'no newline'; printf 'nor here' >&2",
    )
    entries = rig.read()
    assert [e.message for e in entries if e.stream == "stdout"] == ["out 1", "out 2", "out 3", "no newline"]
    assert [e.message for e in entries if e.stream == "stderr"] == ["err 1", "err 2", "err 3", "nor here"]
    assert [e.id for e in entries] == sorted({e.id for e in entries})
    assert all(abs(e.id - linux.now_us()) < 60_000_000 for e in entries)


def test_a_reader_is_told_of_new_lines_at_once(rig: Rig) -> None:
    rig.launch("t1", "echo one; exec sleep 100")
    notice = rig.client.wait("lines")
    assert notice["deployments"] == {"d1": rig.read()[-1].id}


def test_hostile_bytes_are_kept_on_disk_and_replaced_in_answers(rig: Rig) -> None:
    raw = b"\x00nul \x1b[31mred\x1b[0m \xff\xfe bad\r\n\n  spaces  \n"
    rig.run("t1", python(f"import os; os.write(1, {raw!r})"))
    assert rig.lines() == ["\0nul \x1b[31mred\x1b[0m \ufffd\ufffd bad\r", "", "  spaces  "]
    (segment,) = (rig.data_dir / "logs" / "d1" / "t1").iterdir()
    assert raw in segment.read_bytes()


def test_a_line_of_fifty_megabytes_costs_neither_memory_nor_disk(rig: Rig) -> None:
    before = resident_bytes(rig.keeper_pid)
    script = "import os\nfor _ in range(50): os.write(1, b'x' * 1_000_000)\nos.write(1, b'\\nnext\\n')"
    rig.run("t1", python(script))
    long, following = rig.read()
    assert long.message == "x" * segments.LINE_BYTES
    assert long.truncated == 50_000_000 - segments.LINE_BYTES
    assert (following.message, following.truncated) == ("next", None)
    assert resident_bytes(rig.keeper_pid) - before < 3_000_000
    assert sum(path.stat().st_size for path in (rig.data_dir / "logs").rglob("*.seg")) < 1_000_000


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_flood_is_bounded_and_harms_nobody_else(rig: Rig) -> None:
    flooding = rig.launch("flood", python(FLOOD), deployment="flood")
    eventually(
        lambda: len(list((rig.data_dir / "logs/flood/flood").glob("*.seg"))) == segments.SEGMENTS, timeout=30
    )
    before = resident_bytes(rig.keeper_pid)
    waits = [rig.client.ping() for _ in range(50)]
    assert sorted(waits)[25] < 0.1, "commands come before output"
    assert rig.run("t1", "echo here")["code"] == 0
    assert rig.lines() == ["here"]
    seen = rig.logs.first_id("flood")
    eventually(lambda: rig.logs.first_id("flood") != seen)
    stored = [path.stat().st_size for path in (rig.data_dir / "logs/flood/flood").glob("*.seg")]
    assert sum(stored) <= segments.SEGMENTS * segments.SEGMENT_BYTES
    assert resident_bytes(rig.keeper_pid) - before < 4_000_000
    os.kill(flooding["pid"], signal.SIGKILL)
    assert rig.exited("flood")["signal"] == signal.SIGKILL
    page = rig.read("flood", limit=5_000)
    assert len(page) == 5_000
    assert {entry.message for entry in page[:-1]} == {"y" * 99}


def test_a_hundred_thousand_lines_arrive_without_loss(rig: Rig) -> None:
    rig.run("t1", python("import sys\nfor n in range(100_000): print(n, file=sys.stdout, flush=False)\n"))
    entries = rig.all_lines()
    assert [e.message for e in entries] == [str(n) for n in range(100_000)]
    assert len({e.id for e in entries}) == 100_000


def test_what_descendants_had_written_at_the_exit_is_there_and_what_they_write_later_too(rig: Rig) -> None:
    rig.launch("t1", "(echo early; while [ ! -e go ]; do sleep 0.02; done; echo late) & sleep 0.2; exit 5")
    assert rig.exited("t1")["code"] == 5
    assert rig.lines() == ["early"]
    (rig.data_dir / "work" / "t1" / "go").touch()
    eventually(lambda: rig.lines() == ["early", "late"])


def test_the_end_tells_the_last_lines(rig: Rig) -> None:
    both = (
        "for i in $(seq 30); do echo out $i; echo err $i >&2; done; head -c 2000 /dev/zero | tr '\\0' x >&2"
    )
    exited = rig.run("t1", both)
    assert exited["last_lines"] == [*(f"err {n}" for n in range(22, 31)), "x" * 500]
    assert rig.run("t2", "seq 3")["last_lines"] == ["1", "2", "3"]
    assert rig.run("t3", "true")["last_lines"] == []


def test_lines_of_serve_join_the_sequence(rig: Rig) -> None:
    rig.run("t1", "echo one")
    rig.client.send(
        {"op": "log", "deployment": "d1", "task": "t1", "stream": "system", "lines": ["two", "three"]}
    )
    rig.client.send(
        {"op": "log", "deployment": "d1", "task": "container", "stream": "stdout", "lines": ["four"]}
    )
    rig.client.ping()
    assert rig.lines() == ["one", "two", "three", "four"]
    assert [e.stream for e in rig.read()] == ["stdout", "system", "system", "stdout"]
    rig.client.send({"op": "log", "deployment": "..", "task": "t", "stream": "stdout", "lines": ["x"]})
    assert "is no id" in rig.client.wait("error")["message"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(options, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.needs("mount")
def test_a_full_disk_drops_lines_but_no_task_no_exit_and_no_launch(no_leaks: None, small_disk: Path) -> None:
    rig = Rig(small_disk)
    try:
        spares_are_made(rig)
        fill = small_disk / "fill"
        fill.write_bytes(b"\0" * shutil.disk_usage(small_disk).free)
        exited = rig.run("t1", "seq 20000; echo failing >&2; exit 7")
        assert (exited["code"], exited["last_lines"]) == (7, ["failing"])
        assert not (small_disk / "run" / "t1" / "exit.json").exists()
        second = rig.connect()
        assert second.tasks["t1"]["exit"]["code"] == 7, "kept in memory"
        rig.client = second
        rig.launch(
            "t2", "seq 20000; touch written; while [ ! -e go ]; do echo waiting; sleep 0.05; done; echo done"
        )
        eventually((small_disk / "work" / "t2" / "written").exists)
        rig.client.ping()
        fill.unlink()
        eventually(lambda: (small_disk / "run" / "t1" / "exit.json").exists())
        (small_disk / "work" / "t2" / "go").touch()
        assert rig.exited("t2")["code"] == 0
        assert rig.lines(task="t2")[-1] == "done"
        dropped = rig.lines(task="t2", stream="system")
        assert dropped and "dropped: No space left" in dropped[0]
        rig.client.send(
            {"op": "log", "deployment": "d1", "task": "t1", "stream": "system", "lines": ["more"]}
        )
        rig.client.ping()
        notice, more = rig.lines(task="t1")[-2:]
        assert notice.endswith(" lines of output were dropped: No space left on device")
        assert more == "more"
        kept = [entry for entry in rig.all_lines() if entry.task_id == "t1" and entry.stream != "system"]
        assert int(notice.split()[0]) + len(kept) == 20_001
    finally:
        rig.close()


def spares_are_made(rig: Rig) -> None:
    eventually(lambda: len([path for path in (rig.data_dir / "run").iterdir() if path.is_dir()]) >= 16)
