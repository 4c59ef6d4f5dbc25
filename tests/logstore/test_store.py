"""Reading stored output: pages, tails, filters and many tasks, also while the keeper writes and rotates."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platformd.keeper import segments
from platformd.keeper.segments import LINES, OPEN, STDERR, STDOUT, SYSTEM
from platformd.logstore import Entry, LogStore
from platformd.logstore.entries import first_id_at, instant

T0 = 1_700_000_000_000_000


class Author:
    """Writes segments as the keeper does, with ids of the test's choice."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.writers: dict[str, segments.Writer] = {}

    def write(
        self,
        task: str,
        first: int,
        *lines: bytes,
        stream: int = STDOUT,
        kind: int = LINES,
        dropped: int = 0,
        deployment: str = "d",
    ) -> None:
        folder = f"{self.root}/{deployment}/{task}"
        writer = self.writers.setdefault(folder, segments.Writer(folder))
        body = b"".join(line + b"\n" for line in lines)
        count = len(lines) if kind == LINES else 0
        parts = segments.frame(stream, kind, [body], count, first if kind == LINES else 0, dropped)
        size = len(body) + segments.OVERHEAD
        if writer.needs_new_segment(size):
            writer.begin_segment(first)
        writer.append(parts, size)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()


@pytest.fixture
def author(no_leaks: None, tmp_path: Path) -> Iterator[Author]:
    author = Author(tmp_path / "logs")
    yield author
    author.close()


@pytest.fixture
def store(author: Author) -> LogStore:
    return LogStore(author.root)


def ids(entries: list[Entry]) -> list[int]:
    return [entry.id for entry in entries]


def test_an_entry_is_the_whole_line(author: Author, store: LogStore) -> None:
    author.write("t", T0, b"hello \xff", stream=STDERR, dropped=7)
    (entry,) = store.read("d")
    assert entry == Entry(
        T0, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), "d", "t", "stderr", "hello \ufffd", 7
    )


def test_without_after_the_newest_and_with_it_the_next(author: Author, store: LogStore) -> None:
    for n in range(0, 100, 5):
        author.write("t", T0 + n, *(str(n + k).encode() for k in range(5)))
    assert ids(store.read("d", limit=7)) == list(range(T0 + 93, T0 + 100))
    assert ids(store.read("d", after=T0 + 41, limit=7)) == list(range(T0 + 42, T0 + 49))
    assert ids(store.read("d", after=0, limit=3)) == [T0, T0 + 1, T0 + 2]
    assert ids(store.read("d", tail=3)) == [T0 + 97, T0 + 98, T0 + 99]
    assert ids(store.read("d", tail=3, after=T0 + 98)) == [T0 + 99]
    assert store.read("d", tail=0) == []
    assert store.read("d", after=T0 + 99) == []
    assert (store.first_id("d"), store.last_id("d")) == (T0, T0 + 99)


def test_filters(author: Author, store: LogStore) -> None:
    author.write("a", T0, b"1", b"2")
    author.write("b", T0 + 2, b"3", stream=STDERR)
    author.write("a", T0 + 3, b"4", stream=SYSTEM)
    assert [e.message for e in store.read("d", task="a")] == ["1", "2", "4"]
    assert [e.message for e in store.read("d", stream="stderr")] == ["3"]
    assert [e.message for e in store.read("d", stream="stdout", tail=1)] == ["2"]
    assert [e.message for e in store.read("d", since=instant(T0 + 1), until=instant(T0 + 2))] == ["2", "3"]
    assert [e.message for e in store.read("d", after=T0, until=instant(T0 + 2))] == ["2", "3"]
    third = store.read("d", until=instant(T0 + 2))[-1]
    assert [e.message for e in store.read("d", before=third.id, limit=1)] == ["2"]
    assert store.read("d", before=1) == []
    assert store.read("d", task="never") == store.read("other") == []


@pytest.mark.parametrize("name", ["", "..", "../d", "d/../d", ".", "a\0b", "x" * 5_000])
def test_names_that_lead_elsewhere_hold_nothing(author: Author, store: LogStore, name: str) -> None:
    author.write("t", T0, b"x")
    assert store.read(name) == store.read("d", task=name) == []
    store.drop_deployment(name)
    store.drop_task("d", name)
    assert (store.first_id(name), store.last_id(name)) == (None, None)
    assert ids(store.read("d")) == [T0]


@given(
    lines=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(0, 2)), max_size=40),
    pick=st.tuples(st.integers(-2, 200), st.integers(1, 30), st.integers(0, 2), st.integers(0, 4)),
    size=st.integers(60, 400),
)
def test_any_reading_agrees_with_reading_all_and_choosing(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[int, int, int]],
    pick: tuple[int, int, int, int],
    size: int,
) -> None:
    """Several tasks, streams, segments; the store's memory of earlier readings must never change an answer."""
    author = Author(tmp_path_factory.mktemp("any"))
    store = LogStore(author.root)
    whole = []
    at = T0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT_BYTES", size)
        patch.setattr(segments, "SEGMENTS", 1_000)
        for task, count, stream in lines:
            texts = [f"{at + k}".encode() for k in range(count)]
            author.write(f"t{task}", at, *texts, stream=stream)
            whole += [(at + k, f"t{task}", segments.STREAMS[stream]) for k in range(count)]
            store.read("d", after=at - 1)
            at += count + 1
    after, limit, stream, task = T0 + pick[0], pick[1], segments.STREAMS[pick[2]], f"t{pick[3]}"
    for chosen in ({}, {"stream": stream}, {"task": task}, {"stream": stream, "task": task}):
        kept = [
            id
            for id, of, in_stream in whole
            if chosen.get("stream", in_stream) == in_stream and chosen.get("task", of) == of
        ]
        beyond = [id for id in kept if id > after]
        assert ids(store.read("d", after=after, limit=limit, **chosen)) == beyond[:limit]
        assert ids(store.read("d", limit=limit, **chosen)) == kept[-limit:]
        assert ids(store.read("d", tail=limit, since=instant(after + 1), **chosen)) == beyond[-limit:]
        assert (
            ids(store.read("d", until=instant(after), limit=limit, **chosen))
            == [id for id in kept if id <= after][-limit:]
        )
    author.close()


def test_a_follower_gets_each_line_once_while_segments_come_and_go(
    author: Author, store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 20_000)
    monkeypatch.setattr(segments, "SEGMENTS", 1_000)
    total = 6_000
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for n in range(0, total, 3):
                author.write(f"t{n % 4}", T0 + n, *(b"x" * (n % 50) for _ in range(3)), stream=n % 3)
                if n % 10 == 0:
                    author.write(f"t{n % 4}", T0 + n + 3, b"begun", stream=n % 3, kind=OPEN)
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[int] = []
    while writer.is_alive() or len(seen) < total:
        page = store.read("d", after=seen[-1] if seen else 0, limit=500)
        for id in ids(page):
            assert not seen or id > seen[-1]
            seen.append(id)
        if not page and not writer.is_alive():
            break
    writer.join()
    assert not failures
    assert seen == list(range(T0, T0 + total))


def test_rotation_under_a_reader_leaves_a_gap_and_no_error(
    author: Author, store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1_000)
    for n in range(500):
        author.write("t", T0 + n, b"y" * 40)
        store.read("d", after=T0 + n - 1)
    kept = ids(store.read("d", after=0))
    assert kept == list(range(kept[0], T0 + 500))
    assert store.first_id("d") == kept[0] > T0
    assert ids(store.read("d", after=T0 + 5, limit=2)) == kept[:2]


def test_torn_and_foreign_files_are_read_past(author: Author, store: LogStore) -> None:
    author.write("t", T0, b"one", b"two")
    author.close()
    (segment,) = author.root.rglob("*.seg")
    with segment.open("ab") as file:
        file.write(segments.frame(STDOUT, LINES, [b"torn\n"], 1, T0 + 2)[0] + b"to")
    (segment.parent / "notes.txt").write_text("x")
    (segment.parent / "abc.seg").write_text("x")
    (segment.parent / f"{T0 + 9}.seg").write_bytes(b"")
    (author.root / "d" / "file").write_text("x")
    (author.root / "d" / "empty").mkdir()
    assert ids(store.read("d")) == ids(store.read("d", after=0)) == [T0, T0 + 1]
    assert store.last_id("d") == T0 + 1


def test_reading_a_little_of_much_reads_little(
    author: Author, store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 MB of short frames: the newest lines, and the next page of a follower, cost a few windows."""
    for n in range(20):
        author.write("t", T0 + n * 100_000, *[b"z" * 99] * 600)
    for n in range(20 * 3_000):
        author.write("t", T0 + 3_000_000 + n, b"short line")
    read = 0
    real = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        data = real(fd, size, offset)
        read += len(data)
        return data

    newest = T0 + 3_000_000 + 59_999
    monkeypatch.setattr(os, "pread", counted)
    assert ids(store.read("d", tail=100))[-1] == newest
    assert read < 1_200_000
    read = 0
    author.write("t", newest + 1, b"next")
    assert ids(store.read("d", after=newest)) == [newest + 1]
    assert read < 1_200_000
    page = store.read("d", after=newest - 30_000)
    read = 0
    following = store.read("d", after=page[-1].id)
    assert following[0].id == page[-1].id + 1
    assert read < 1_500_000


def test_dropping_and_expiring(author: Author, store: LogStore) -> None:
    author.write("old", T0, b"x")
    author.write("living", T0, b"x")
    author.write("new", T0 + 10, b"x")
    author.write("alone", T0, b"x", deployment="other")
    author.close()
    assert store.expire(instant(T0 + 5), keep={"living"}) == 2
    assert [e.task_id for e in store.read("d")] == ["living", "new"]
    assert not (author.root / "other").exists()
    store.drop_task("d", "living")
    assert [e.task_id for e in store.read("d")] == ["new"]
    store.drop_deployment("d")
    assert store.read("d") == [] and not (author.root / "d").exists()


def test_what_was_rotated_away_is_a_gap_though_older_lines_of_others_are_kept(
    author: Author, store: LogStore
) -> None:
    author.write("quiet", T0, b"kept")
    chatty = segments.Writer(str(author.root / "d" / "chatty"))
    for number in range(segments.SEGMENTS + 2):
        id = T0 + 10 * (number + 1)
        parts = segments.frame(STDOUT, LINES, [b"x\n"], 1, id)
        chatty.begin_segment(id)
        chatty.append(parts, sum(map(len, parts)))
    chatty.close()
    assert store.first_id("d") == T0
    assert [store.oldest_after_gap("d", after) for after in (T0, T0 + 19, T0 + 20)] == [T0, T0, None]
    assert store.oldest_after_gap("d", T0, "chatty") == T0 + 30
    assert store.oldest_after_gap("d", T0, "quiet") is None
    assert store.oldest_after_gap("d", T0 - 1, "quiet") == T0
    assert store.oldest_after_gap("other", T0) is None


def test_what_expired_is_a_gap_though_older_lines_of_others_are_kept(author: Author, store: LogStore) -> None:
    author.write("living", T0, b"kept")
    author.write("old", T0 + 1, b"x", b"x")
    assert store.expire(instant(T0 + 5), keep={"living"}) == 1
    assert [store.oldest_after_gap("d", after) for after in (T0, T0 + 1, T0 + 2)] == [T0, T0, None]


def test_what_is_remembered_of_a_quiet_task_is_noticed_when_it_changes(
    author: Author, store: LogStore
) -> None:
    author.write("t", T0, b"one")
    folder = author.root / "d" / "t"
    os.utime(folder, (1, 1))
    assert ids(store.read("d")) == [T0]
    author.write("t", T0 + 1, b"two")
    os.utime(folder, (1, 1))
    assert ids(store.read("d")) == [T0, T0 + 1]
    author.writers[str(folder)].begin_segment(T0 + 2)
    author.write("t", T0 + 2, b"three")
    assert ids(store.read("d")) == [T0, T0 + 1, T0 + 2]


def test_instants_and_ids_turn_into_each_other() -> None:
    for id in (0, 1, T0, T0 + 999_999, 2**53 - 1):
        assert first_id_at(instant(id)) == id
    assert first_id_at(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=1)) == 1_000_000
