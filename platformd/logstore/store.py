"""The log store: lines of a deployment across its tasks, in the order of their ids.

Used by the API (reading, following) and by retention (removing); any thread. A deployment may have had a thousand
tasks, so what a task's folder held is remembered and only looked at again when it can have changed.
"""

from __future__ import annotations

import heapq
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from platformd import clock
from platformd.keeper import segments
from platformd.keeper.segments import STREAMS, SUFFIX
from platformd.logstore.entries import Entry, Line, first_id_at
from platformd.logstore.task_log import Hints, TaskLog

MAX_KNOWN = 20_000
_NAME = re.compile(r"[\w-][\w.-]{0,99}", re.ASCII)
_SETTLED = timedelta(seconds=2)  # a folder's time stamp is too coarse to tell two changes in a row apart


@dataclass(frozen=True, slots=True)
class _Known:
    """A task's log as last seen: valid while the folder and its newest segment are as they were."""

    log: TaskLog
    folder_ns: int
    newest_bytes: int
    last_id: int


class LogStore:
    """Reads what the keeper wrote below `root` (the `logs` folder of the data directory)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._hints = Hints()
        self._known: dict[str, _Known] = {}

    def read(
        self,
        deployment: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = 1000,
        tail: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        task: str | None = None,
        stream: str | None = None,
    ) -> list[Entry]:
        """Entries, oldest first: without `after` the newest `limit`, with it the next; `tail` the newest of those; of
        those below the id `before` when that is given.

        `since` and `until` bound the time of arrival, both inclusive. Tasks are looked at one after the other while
        the keeper writes on: only lines up to the newest id seen before the first look are given, all of which
        are there by then, so that whoever goes on after the last entry misses none.
        """
        bound = self.last_id(deployment) or 0
        low = max(after or 0, first_id_at(since) - 1 if since else 0)
        high = min(bound, first_id_at(until)) if until else bound
        high = high if before is None else min(high, before - 1)
        number = None if stream is None else STREAMS.index(stream)
        tasks = [known for known in self._tasks(deployment, task) if known.last_id > low]
        if limit < 1 or tail == 0:
            return []
        if after is None or tail is not None:
            count = limit if tail is None else min(tail, limit)
            lines = _newest(tasks, low, high, count, number)
        else:
            lines = _oldest(tasks, low, high, limit, number)
        return [line.entry(deployment) for line in lines]

    def first_id(self, deployment: str) -> int | None:
        """No line kept has a lower id; None when none is kept."""
        return min((known.log.firsts[0] for known in self._tasks(deployment)), default=None)

    def last_id(self, deployment: str) -> int | None:
        """The newest line's id; None when none is kept."""
        return max((known.last_id for known in self._tasks(deployment)), default=0) or None

    def oldest_after_gap(self, deployment: str, after: int, task: str | None = None) -> int | None:
        """The oldest id that is kept (0: none) when something above `after`, of the deployment or of one task, is not
        kept any more; else None."""
        folder = self._folder(deployment)
        if folder is None:
            return None
        first = min((known.log.firsts[0] for known in self._tasks(deployment, task)), default=0)
        return first if after < max(self.lost(deployment, task), first) else None

    def lost(self, deployment: str, task: str | None = None) -> int:
        """The highest id, of the deployment or of one task, that is noted to be no longer kept; 0 when none is."""
        folder = self._folder(deployment)
        if folder is None:
            return 0
        places = [folder / task] if task is not None else [folder, *_subfolders(folder)]
        return max(map(segments.dropped, places))

    def drop_task(self, deployment: str, task: str) -> None:
        """Remove the output of a task that the keeper has forgotten."""
        if folder := self._folder(deployment, task):
            if last := max((known.last_id for known in self._tasks(deployment, task)), default=0):
                segments.note_dropped(folder.parent, max(last, segments.dropped(folder.parent)))
            shutil.rmtree(folder, ignore_errors=True)
            self._known.pop(str(folder), None)

    def drop_deployment(self, deployment: str) -> None:
        """Remove all output of a deployment whose tasks the keeper has forgotten."""
        if folder := self._folder(deployment):
            for known in self._tasks(deployment):
                self._known.pop(known.log.folder, None)
            shutil.rmtree(folder, ignore_errors=True)

    def expire(self, before: datetime, keep: Collection[str] = ()) -> int:
        """Remove the output of tasks whose last line is older than `before`: how many; those in `keep` stay.

        `keep` must name every task that still lives: the keeper goes on writing to it.
        """
        bound, removed = first_id_at(before), 0
        for folder in _subfolders(self.root):
            for known in self._tasks(folder.name):
                if known.last_id < bound and known.log.task not in keep:
                    self.drop_task(folder.name, known.log.task)
                    removed += 1
            if not _subfolders(folder):
                shutil.rmtree(folder, ignore_errors=True)
        return removed

    def _tasks(self, deployment: str, task: str | None = None) -> list[_Known]:
        """The tasks of a deployment that have any output, in no particular order."""
        folder = self._folder(deployment, task)
        if folder is None:
            return []
        folders = [folder] if task is not None else _subfolders(folder)
        return [known for each in folders if (known := self._look(each)) is not None]

    def _look(self, folder: Path) -> _Known | None:
        path = str(folder)
        known = self._known.get(path)
        try:
            stamp = folder.stat().st_mtime_ns
            if known is not None and known.folder_ns == stamp:
                newest = folder / f"{known.log.firsts[-1]}{SUFFIX}"
                if newest.stat().st_size == known.newest_bytes:
                    return known
            return self._look_anew(folder, stamp)
        except OSError:  # removed meanwhile
            self._known.pop(path, None)
            return None

    def _look_anew(self, folder: Path, stamp: int) -> _Known | None:
        log = TaskLog(folder, self._hints)
        if not log.firsts:
            return None
        size = (folder / f"{log.firsts[-1]}{SUFFIX}").stat().st_size
        known = _Known(log, stamp, size, log.last_id())
        if clock.now().timestamp() - stamp / 1e9 > _SETTLED.total_seconds():
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[str(folder)] = known
        return known

    def _folder(self, deployment: str, task: str | None = None) -> Path | None:
        """Where output lies; None for names that would lead elsewhere."""
        names = [deployment] if task is None else [deployment, task]
        if not all(_NAME.fullmatch(name) for name in names):
            return None
        return self.root.joinpath(*names)


def _newest(tasks: list[_Known], low: int, high: int, count: int, stream: int | None) -> list[Line]:
    """The newest `count` lines; tasks that ended before all of those are not opened."""
    best: list[Line] = []
    for known in sorted(tasks, key=lambda known: known.last_id, reverse=True):
        if len(best) >= count and known.last_id < best[-1].id:
            break
        best = list(heapq.merge(best, known.log.backward(low, high, count, stream), reverse=True))[:count]
    return best[::-1]


def _oldest(tasks: list[_Known], low: int, high: int, count: int, stream: int | None) -> list[Line]:
    """The oldest `count` lines; tasks that began after all of those are not opened."""
    best: list[Line] = []
    for known in sorted(tasks, key=lambda known: known.log.firsts[0]):
        if len(best) >= count and known.log.firsts[0] > best[-1].id:
            break
        best = list(heapq.merge(best, known.log.forward(low, high, count, stream)))[:count]
    return best


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
