"""The format of stored output: written, walked both ways, torn, rotated, and lines out of any cutting of bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platformd.keeper import segments
from platformd.keeper.journal import Journals
from platformd.keeper.output import Reader
from platformd.keeper.segments import LINE_BYTES, LINES, OPEN, STDERR, STDOUT
from platformd.keeper.spool import Spool
from platformd.logstore import LogStore

ROOMY = 10**9


@pytest.fixture
def journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journals]:
    monkeypatch.chdir(tmp_path)
    made = new_journals()
    yield made
    for journal in made.open.values():
        journal.writer.close()


class NoSpool(Spool):
    """Bytes are fed by hand."""

    def __init__(self) -> None:
        pass

    def void(self) -> None:
        pass


def new_journals() -> Journals:
    return Journals(lambda news, count: None, lambda seconds, call: call(), NoSpool())


def stored(tmp_path: Path, deployment: str = "d") -> list[tuple[str, int | None]]:
    entries = LogStore(tmp_path / "logs").read(deployment, after=0, limit=ROOMY)
    assert [e.id for e in entries] == sorted({e.id for e in entries}), "ids must rise"
    return [(entry.message, entry.truncated) for entry in entries]


def segment_files(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.glob("logs/*/*/*.seg"))


def test_frames_are_found_from_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.seg"
    bodies = [os.urandom(size).replace(b"\n", b" ") + b"\n" for size in (0, 1, 70_000, 3, 100_000, 9)]
    for number, body in enumerate(bodies):
        parts = segments.frame(STDOUT, LINES, [body], 1, number + 1, dropped=number)
        with path.open("ab") as file:
            file.writelines(parts)
    fd = os.open(path, os.O_RDONLY)
    try:
        size = path.stat().st_size
        forward, backward = list(segments.walk(fd, 0, size)), list(segments.walk_back(fd, size))
        assert [f.offset for f in forward] == [f.offset for f in reversed(backward)]
        assert [segments.payload(fd, f) for f in forward] == bodies
        assert [(f.first, f.last, f.dropped) for f in forward] == [(n + 1, n + 1, n) for n in range(6)]
        assert segments.last_id(fd, size) == 6
        for cut in (1, 4, 20, 28, 30):
            assert segments.sound_end(fd, size - cut) in [f.offset for f in forward]
            assert segments.last_id(fd, size - cut) in (5, 4)
    finally:
        os.close(fd)


@pytest.mark.parametrize("garbage", [b"\0" * 500, b"\xf5L" * 300, os.urandom(700), b"\xff" * 40])
def test_a_torn_tail_is_cut_off_and_written_over(tmp_path: Path, journals: Journals, garbage: bytes) -> None:
    journals.of("d", "t").lines(STDOUT, [b"one", b"two"])
    journals.drop("t")
    (path,) = segment_files(tmp_path)
    with path.open("ab") as file:
        file.write(garbage)
    assert stored(tmp_path) == [("one", None), ("two", None)]
    journals.of("d", "t").lines(STDOUT, [b"three"])
    assert [text for text, _ in stored(tmp_path)] == ["one", "two", "three"]
    assert segment_files(tmp_path) == [path]


def test_ids_rise_over_a_clock_that_steps_back(journals: Journals, monkeypatch: pytest.MonkeyPatch) -> None:
    first = journals.take("d", 5)
    monkeypatch.setattr("platformd.keeper.linux.now_us", lambda: 1_000)
    assert journals.take("d", 1) == first + 5
    journals.of("d", "t").lines(STDOUT, [b"a"])
    last = journals.last_ids.pop("d")  # as in a keeper that just started
    assert journals.take("d", 1) == last + 1
    assert journals.take("fresh", 1) == 1_000


def feed(journals: Journals, chunks: list[bytes]) -> Reader:
    reader = Reader(-1, STDOUT, journals.of("d", "t"), "t")
    for chunk in chunks:
        reader.feed(chunk)
    return reader


@given(
    lines=st.lists(
        st.one_of(st.binary(max_size=30), st.integers(0, 200_000).map(lambda n: b"x" * n)), max_size=12
    ),
    cuts=st.lists(st.integers(1, 65_536), max_size=40),
    open_end=st.booleans(),
)
def test_lines_survive_any_cutting(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cuts: list[int], open_end: bool
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    before = Path.cwd()
    os.chdir(folder)
    try:
        journals = new_journals()
        lines = [line.replace(b"\n", b".") for line in lines]
        data = b"".join(line + b"\n" for line in lines)
        if open_end and data:
            data = data[:-1]
        chunks = []
        for size in [*cuts, *[65_536] * (len(data) // 65_536 + 1)]:
            if data:
                chunks, data = [*chunks, data[:size]], data[size:]
        reader = feed(journals, chunks)
        held = bytes(reader.pending)
        journals.drop("t")
        assert journals.of("d", "t").stored_open_line(STDOUT) == held, "a later keeper finds what was begun"
        reader.journal = journals.of("d", "t")
        reader.flush()
        expected = [(line[:LINE_BYTES].decode("utf-8", "replace"), len(line) - LINE_BYTES) for line in lines]
        if open_end and lines and not lines[-1]:
            expected.pop()
        assert stored(folder) == [(text, over if over > 0 else None) for text, over in expected]
        journals.drop("t")
    finally:
        os.chdir(before)


def test_rotation_keeps_lines_whole_and_the_newest_hundred_megabytes(
    tmp_path: Path, journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 10_000)
    reader = Reader(-1, STDOUT, journals.of("d", "t"), "t")
    other = Reader(-1, STDERR, journals.of("d", "t"), "t")
    other.feed(b"begun long ago, ")
    lines = [f"{number:06d} {'y' * (number % 90)}" for number in range(4_000)]
    data = "".join(f"{line}\n" for line in lines).encode()
    for start in range(0, len(data), 777):
        reader.feed(data[start : start + 777])
    files = segment_files(tmp_path)
    assert len(files) == segments.SEGMENTS
    assert all(path.stat().st_size <= 10_000 for path in files)
    kept = [text for text, _ in stored(tmp_path)]
    assert kept == lines[-len(kept) :] and len(kept) > 1_000
    folder = files[0].parent
    assert segments.dropped(folder) == segments.first_ids(folder)[0] - 1
    assert len([path for path in folder.iterdir() if path.suffix == segments.DROPPED]) == 1
    journals.drop("t")
    assert journals.of("d", "t").stored_open_line(STDERR) == b"begun long ago, "


@pytest.mark.parametrize("size", [9_971, 9_972, 9_973])
def test_a_frame_that_just_fits_is_not_rotated(
    tmp_path: Path, journals: Journals, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Exact sizes round the rotation point: a frame of 10,000 bytes fits, one of 10,001 begins a segment."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 20_000)
    journal = journals.of("d", "t")
    journal.lines(STDOUT, [b"a" * (10_000 - segments.OVERHEAD - 1)])
    journal.lines(STDOUT, [b"b" * (size - 1)])
    assert len(segment_files(tmp_path)) == (1 if size + segments.OVERHEAD <= 10_000 else 2)
    assert [len(text) for text, _ in stored(tmp_path)] == [9_971, size - 1]


def test_a_full_disk_drops_and_counts_lines_and_heals(
    tmp_path: Path, journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.writev

    def half_written(fd: int, buffers: list[bytes]) -> int:
        return real(fd, [b"".join(map(bytes, buffers))[:40]])

    def refused(fd: int, buffers: list[bytes]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    reader = feed(journals, [b"kept\nbegun "])
    monkeypatch.setattr(os, "writev", half_written)
    reader.feed(b"and lost\nlost too\n")
    monkeypatch.setattr(os, "writev", refused)
    reader.feed(b"lost\n" * 8)
    assert [text for text, _ in stored(tmp_path)] == ["kept"], "nothing half written may show"
    monkeypatch.setattr(os, "writev", real)
    reader.feed(b"kept again\n")
    texts = [text for text, _ in stored(tmp_path)]
    assert texts[0] == "kept" and texts[2:] == ["kept again"]
    assert texts[1].startswith("10 lines of output were dropped: ") and "space" in texts[1]


def test_lines_sent_by_serve_are_cut_like_all_others(tmp_path: Path, journals: Journals) -> None:
    texts = [
        b"short",
        b"two\nlines",
        b"x" * 70_000,
        b"",
        *[b"z" * 30_000] * 5,
        "ü\udcff".encode(errors="surrogateescape"),
    ]
    journals.of("d", "t").lines(segments.SYSTEM, texts)
    expected = ["short", "two", "lines", "x" * LINE_BYTES, "", *["z" * 30_000] * 5, "ü\ufffd"]
    assert stored(tmp_path) == [(text, 70_000 - LINE_BYTES if text[:1] == "x" else None) for text in expected]


def test_a_frame_of_an_open_line_is_invisible(tmp_path: Path, journals: Journals) -> None:
    reader = feed(journals, [b"half a "])
    (path,) = segment_files(tmp_path)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert [f.kind for f in segments.walk(fd, 0, path.stat().st_size)] == [OPEN]
    finally:
        os.close(fd)
    assert stored(tmp_path) == []
    reader.feed(b"line\n")
    assert stored(tmp_path) == [("half a line", None)]
