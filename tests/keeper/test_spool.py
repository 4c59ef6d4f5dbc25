"""What a kill between two steps of reading output leaves, brought back exactly: nothing lost, nothing doubled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from platformd.keeper import segments, spool
from platformd.keeper.journal import Journals
from platformd.keeper.output import Reader
from platformd.keeper.segments import STDOUT
from platformd.logstore import LogStore

CHUNK = b"of a line\nsecond\nand the begin"


class Scene:
    """A FIFO read by a keeper's reader, and the keeper after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "run").mkdir()
        os.mkfifo(folder / "fifo")
        self.writing = os.open(folder / "fifo", os.O_RDWR)
        self.reading = os.open(folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        self.journals = self._journals()
        self.reader = self._reader()

    def _journals(self) -> Journals:
        return Journals(lambda news, count: None, lambda seconds, call: call(), spool.Spool())

    def _reader(self) -> Reader:
        return Reader(self.reading, STDOUT, self.journals.of("d", "t"), "t")

    def write(self, data: bytes) -> None:
        os.write(self.writing, data)

    def next_keeper(self) -> None:
        """As a keeper does that finds the files of a killed one."""
        note = spool.left_behind()
        self.close_journals()
        torn = note is not None and spool.undo_torn(note, "logs/d/t")
        self.journals = self._journals()
        self.reader = self._reader()
        self.reader.pending += self.reader.journal.stored_open_line(STDOUT)
        if torn and note is not None:
            self.reader.feed(note.chunk)

    def lines(self) -> list[str]:
        return [entry.message for entry in LogStore(self.folder / "logs").read("d", after=0)]

    def close_journals(self) -> None:
        self.journals.drop("t")
        os.close(self.journals.spool.fd)

    def close(self) -> None:
        self.close_journals()
        os.close(self.writing)
        os.close(self.reading)


@pytest.fixture
def scene(no_leaks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.chdir(tmp_path)
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def finish(scene: Scene) -> list[str]:
    scene.write(b"ning of a third\n")
    scene.reader.read()
    return scene.lines()


EXPECTED = ["first half of a line", "second", "and the beginning of a third"]


def test_killed_before_anything_was_taken(scene: Scene) -> None:
    scene.write(b"first half ")
    scene.reader.read()
    scene.write(CHUNK)
    scene.next_keeper()
    scene.reader.read()
    assert finish(scene) == EXPECTED


def test_killed_after_the_chunk_was_taken_and_before_it_was_stored(scene: Scene) -> None:
    scene.write(b"first half ")
    scene.reader.read()
    scene.write(CHUNK)
    assert scene.journals.spool.take(scene.reader, 65536) == CHUNK
    scene.next_keeper()
    assert finish(scene) == EXPECTED


def test_killed_after_the_chunk_was_stored(scene: Scene) -> None:
    scene.write(b"first half ")
    scene.reader.read()
    scene.write(CHUNK)
    scene.reader.read()
    scene.next_keeper()
    assert finish(scene) == EXPECTED


def test_killed_at_any_byte_of_storing(scene: Scene) -> None:
    scene.write(b"first half ")
    scene.reader.read()
    before = scene.reader.journal.writer.size
    scene.write(CHUNK)
    scene.reader.read()
    (path,) = (scene.folder / "logs" / "d" / "t").iterdir()
    whole, noted = path.read_bytes(), (scene.folder / "run" / "spool").read_bytes()
    for cut in range(before, len(whole)):
        if segments.OVERHEAD + before < cut and _ends_a_frame(path, whole, cut):
            continue  # a write cut exactly between two frames of one chunk looks finished
        path.write_bytes(whole[:cut])
        (scene.folder / "run" / "spool").write_bytes(noted)
        scene.next_keeper()
        assert finish(scene) == EXPECTED, cut


def _ends_a_frame(path: Path, whole: bytes, cut: int) -> bool:
    path.write_bytes(whole)
    fd = os.open(path, os.O_RDONLY)
    try:
        return any(frame.end == cut for frame in segments.walk(fd, 0, len(whole)))
    finally:
        os.close(fd)


def test_killed_while_the_first_segment_or_a_new_one_was_begun(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.write(b"first\n")
    scene.journals.spool.take(scene.reader, 65536)
    scene.next_keeper()
    assert scene.lines() == ["first"]
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 60)
    scene.write(b"second\n")
    scene.reader.read()
    newest = max((scene.folder / "logs" / "d" / "t").iterdir())
    newest.write_bytes(newest.read_bytes()[:20])
    scene.next_keeper()
    assert scene.lines() == ["first", "second"]


def test_lines_of_serve_after_a_chunk_are_not_undone_with_it(scene: Scene) -> None:
    scene.write(b"output\n")
    scene.reader.read()
    scene.reader.journal.system("one")
    scene.reader.journal.system("two")
    (path,) = (scene.folder / "logs" / "d" / "t").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    scene.next_keeper()
    assert scene.lines() == ["output", "one"]


def test_a_spool_of_nonsense_is_no_obstacle(scene: Scene) -> None:
    for content in (b"", b"\0" * 10, b"\xff" * 5000, b"\0" * 9000):
        (scene.folder / "run" / "spool").write_bytes(content)
        scene.next_keeper()
    assert scene.lines() == []


def test_a_disk_that_takes_no_spool_is_read_past(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "splice", refused)
    for text in (b"one\n", b"two\n"):
        scene.write(text)
        assert scene.reader.read() == 4
    assert scene.reader.read() == -1
    assert spool.left_behind() is None
    assert scene.lines() == ["one", "two"]
