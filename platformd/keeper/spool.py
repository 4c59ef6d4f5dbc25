"""The way of output from a FIFO into the keeper's hands without an instant in which only its memory holds it.

The kernel moves a chunk from the FIFO into the file `run/spool`; from there it is read, framed, stored. A note
written just before says whose chunk comes next and where that task's journal stood, so a keeper that follows a
killed one knows whether the chunk was stored, and stores it if not: nothing is lost, nothing doubled. There is one
thread and so never more than one chunk under way. Where splicing fails (a full disk) chunks are read plainly.
"""

from __future__ import annotations

import os
import struct

from . import segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .output import Reader

PATH = "run/spool"
_NOTE = struct.Struct(
    "<QQQQ"
)  # where the chunk begins here, the journal's segment and its size, label length
_DATA = 4096
_LIMIT = 1024 * 1024


class Note:
    """What a killed keeper had under way."""

    __slots__ = ("chunk", "segment", "size", "stream", "task")

    def __init__(self, task: str, stream: int, segment: int, size: int, chunk: bytes) -> None:
        self.task, self.stream = task, stream
        self.segment, self.size, self.chunk = segment, size, chunk


class Spool:
    """The file, written to from its beginning again each MiB."""

    def __init__(self) -> None:
        self.fd = os.open(PATH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self.fd, 0)
        self.end = _DATA

    def void(self) -> None:
        """The last note means nothing any more: its journal goes on by other ways than `take`."""
        if self.end > _DATA:
            os.ftruncate(self.fd, 0)
            self.end = _DATA

    def take(self, reader: Reader, size: int) -> bytes:
        """Up to `size` bytes of a FIFO, b"" at its end; BlockingIOError when nothing is there."""
        if self.end > _LIMIT:
            self.void()
        try:
            segment, position = reader.journal.writer.position()
            note = _NOTE.pack(self.end, segment, position, len(reader.label))
            os.pwrite(self.fd, note + reader.label, 0)
            got = os.splice(reader.fd, self.fd, size, offset_dst=self.end, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            raise
        except OSError:
            self.void()
            return os.read(reader.fd, size)
        chunk = os.pread(self.fd, got, self.end)
        self.end += got
        return chunk


def left_behind() -> Note | None:
    """The chunk that was under way when the keeper before us was killed."""
    try:
        fd = os.open(PATH, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        head = os.pread(fd, _DATA, 0)
        if len(head) < _NOTE.size:
            return None
        begin, segment, size, length = _NOTE.unpack_from(head)
        if not _DATA <= begin <= _LIMIT or not 0 < length < _DATA:
            return None
        label = head[_NOTE.size : _NOTE.size + length].decode("utf-8", "replace")
        task, _, stream = label.rpartition(" ")
        if not stream.isdigit():
            return None
        chunk = os.pread(fd, _LIMIT, begin)
    finally:
        os.close(fd)
    return Note(task, int(stream), segment, size, chunk) if chunk else None


def undo_torn(note: Note, folder: str) -> bool:
    """Bring a journal back to where the note says it stood, unless the chunk was stored whole: True to store it."""
    present = segments.first_ids(folder)
    if not present or (note.segment and note.segment not in present):
        return not present
    last = present[-1]
    before = note.size if last == note.segment else 0
    fd = os.open(f"{folder}/{last}{segments.SUFFIX}", os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if size > before and segments.sound_end(fd, size) == size:
            return False
        os.ftruncate(fd, min(size, before))
    finally:
        os.close(fd)
    return True
