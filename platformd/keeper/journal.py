"""Where lines get their ids and go to disk: one journal per task, one rising sequence of ids per deployment.

Called by the FIFO readers and by the `log` command, on the keeper's one thread. A disk that refuses never stops
anything: the lines are dropped, counted, and a `system` line says so once there is room again.
"""

from __future__ import annotations

import os
import time

from . import linux, segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .segments import Buffer
    from .spool import Spool

IDLE_SECONDS = 60.0
NOTICE_SECONDS = 0.02


class Part:
    """What becomes one frame: whole lines, or the open beginning (`count` 0) of one at `offset` of the line."""

    __slots__ = ("buffers", "count", "dropped", "offset", "size")

    def __init__(self, buffers: list[Buffer], count: int, dropped: int = 0, offset: int = 0) -> None:
        self.buffers, self.count, self.dropped, self.offset = buffers, count, dropped, offset
        self.size = segments.OVERHEAD + sum(map(len, buffers))


class Journal:
    """The stored output of one task."""

    def __init__(self, journals: Journals, deployment: str, task: str) -> None:
        self.journals, self.deployment, self.task = journals, deployment, task
        self.writer = segments.Writer(f"logs/{deployment}/{task}")
        self.open_lines: dict[
            int, bytearray
        ] = {}  # per stream: the beginning of a line, as its reader holds it
        self.lost, self.reason = 0, ""
        self.used = time.monotonic()

    def system(self, *lines: str) -> None:
        """Append lines of the `system` stream."""
        self.lines(segments.SYSTEM, [line.encode("utf-8", "surrogateescape") for line in lines])

    def lines(self, stream: int, lines: list[bytes]) -> None:
        """Append whole lines given one by one; what is too long is cut."""
        self.journals.spool.void()
        batch: list[bytes] = []
        size = 0
        for piece in b"\n".join(lines).split(b"\n"):
            if batch and size + len(piece) >= segments.LINE_BYTES:
                self.write(stream, [Part([b"".join(batch)], len(batch))])
                batch, size = [], 0
            if len(piece) > segments.LINE_BYTES:
                cut = piece[: segments.LINE_BYTES]
                self.write(stream, [Part([cut, b"\n"], 1, len(piece) - len(cut))])
                continue
            batch.append(piece + b"\n")
            size += len(piece) + 1
        if batch:
            self.write(stream, [Part([b"".join(batch)], len(batch))])

    def mark(self, cursor: str) -> None:
        """Keep, beside the lines, how far they reach in the record of whoever sends them."""
        try:
            os.makedirs(self.writer.folder, 0o700, exist_ok=True)
            fd = os.open(f"{self.writer.folder}/cursor", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.ftruncate(fd, os.pwrite(fd, cursor.encode(), 0))
        except OSError:
            pass  # those lines come once more after a restart, rather than not at all
        finally:
            os.close(fd)

    def stored_open_line(self, stream: int) -> bytes:
        """The beginning of a line that an earlier keeper had read and stored, but not the end of."""
        try:
            self.writer.needs_new_segment(0)
            return (
                segments.open_line(self.writer.fd, self.writer.size, stream) if self.writer.fd >= 0 else b""
            )
        except OSError:
            return b""

    def write(self, stream: int, parts: list[Part]) -> None:
        """Append parts of one stream in one write, whole or not at all."""
        self.used = time.monotonic()
        count = sum(part.count for part in parts)
        first = self.journals.take(self.deployment, count + (1 if self.lost else 0))
        try:
            self._store(stream, parts, first)
        except OSError as error:
            self.lost, self.reason = self.lost + count, error.strerror or str(error)
            return
        if count:
            self.journals.changed(self.deployment, count)

    def _store(self, stream: int, parts: list[Part], first: int) -> None:
        buffers: list[Buffer] = []
        size = sum(part.size for part in parts)
        fresh = self.writer.needs_new_segment(size)
        if fresh:
            self.writer.begin_segment(first)
            size += self._carry(stream, parts[0], buffers)
        if self.lost:
            text = f"{self.lost} lines of output were dropped: {self.reason}\n".encode()
            buffers += segments.frame(segments.SYSTEM, segments.LINES, [text], 1, first)
            size, first = size + len(text) + segments.OVERHEAD, first + 1
        for part in parts:
            kind, number = (segments.LINES, first) if part.count else (segments.OPEN, part.offset)
            buffers += segments.frame(stream, kind, part.buffers, part.count, number, part.dropped)
            first += part.count
        self.writer.append(buffers, size)
        self.lost = 0

    def _carry(self, writing: int, part: Part, buffers: list[Buffer]) -> int:
        """A new segment stands for itself: the open lines of its streams come along."""
        size = 0
        for stream, line in self.open_lines.items():
            begun = bytes(line)
            if stream == writing:
                begun = b"" if part.count else begun[: part.offset]
            if begun:
                buffers += segments.frame(stream, segments.OPEN, [begun], 0, 0)
                size += len(begun) + segments.OVERHEAD
        return size


class Journals:
    """Every journal in use, the last id of each deployment, and the notice that lines came."""

    def __init__(
        self, notify: Callable[[dict[str, int], int], None], later: Callable[..., None], spool: Spool
    ) -> None:
        self.notify, self.later, self.spool = notify, later, spool
        self.open: dict[tuple[str, str], Journal] = {}
        self.last_ids: dict[str, int] = {}
        self.news: dict[str, int] = {}
        self.fresh = 0  # lines since the last notice
        self.announced = 0.0
        self.waiting = False

    def of(self, deployment: str, task: str) -> Journal:
        key = (deployment, task)
        journal = self.open.get(key)
        if journal is None:
            journal = self.open[key] = Journal(self, deployment, task)
        return journal

    def take(self, deployment: str, count: int) -> int:
        """The first of `count` new ids: above the deployment's last, now in microseconds unless that is less."""
        last = self.last_ids.get(deployment)
        if last is None:
            last = stored_last_id(f"logs/{deployment}")
        first = max(last + 1, linux.now_us())
        self.last_ids[deployment] = first + count - 1
        return first

    def changed(self, deployment: str, count: int) -> None:
        self.fresh += count
        self.news[deployment] = self.last_ids[deployment]
        if self.waiting:
            return
        self.waiting = True
        self.later(max(0.0, self.announced + NOTICE_SECONDS - time.monotonic()), self.announce)

    def announce(self) -> None:
        """Tell what is new, now."""
        self.waiting = False
        if self.news:
            self.announced = time.monotonic()
            news, self.news = self.news, {}
            fresh, self.fresh = self.fresh, 0
            self.notify(news, fresh)

    def drop(self, task: str) -> None:
        """Close what is open of `task`."""
        for key in [key for key in self.open if key[1] == task]:
            self.open.pop(key).writer.close()

    def close_idle(self, busy: set[Journal]) -> None:
        """Close the files of journals nobody has written to for a while."""
        limit = time.monotonic() - IDLE_SECONDS
        for key, journal in list(self.open.items()):
            if journal.used < limit:
                journal.writer.close()
                if journal not in busy and not journal.lost:
                    del self.open[key]

    def state(self) -> dict[str, Any]:
        """What the next program image must know: ids may have run ahead of the clock, lines may be uncounted."""
        lost = [[*key, journal.lost, journal.reason] for key, journal in self.open.items() if journal.lost]
        return {"last_ids": self.last_ids, "lost": lost}

    def restore(self, state: dict[str, Any]) -> None:
        self.last_ids = state["last_ids"]
        for deployment, task, lost, reason in state["lost"]:
            journal = self.of(deployment, task)
            journal.lost, journal.reason = lost, reason


def stored_last_id(folder: str) -> int:
    """The highest id stored below a deployment's folder, 0 when there is none."""
    try:
        tasks = os.listdir(folder)
    except OSError:
        return 0  # nothing there, or nothing to be read: the clock alone gives the next id
    return max((_task_last_id(f"{folder}/{task}") for task in tasks), default=0)


def _task_last_id(folder: str) -> int:
    for first in reversed(segments.first_ids(folder)):
        try:
            fd = os.open(f"{folder}/{first}{segments.SUFFIX}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            last = segments.last_id(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)
        return max(last or 0, first - 1)
    return 0
