"""Which tasks the native driver has to do with, and what the keeper last said of each.

Shared by the driver's parts; any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from platformd.drivers.base import LaunchOrder
from platformd.drivers.run import Run, unborn

Record = Mapping[str, Any]
"""The keeper's `task` packet: task, deployment, slot, generation, pid, start_time, boot_ns, exit."""

_FORGOTTEN_KEPT = 4096


class Book:
    """`forgotten` are tasks given up lately, of which the keeper may still speak."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._records: dict[str, Record] = {}
        self._forgotten: OrderedDict[str, None] = OrderedDict()
        self._synced = False
        self._until_synced: list[Callable[[], None]] = []

    def open(self, order: LaunchOrder) -> tuple[Run, bool]:
        """(the run of this task, whether it is new)."""
        with self._lock:
            known = self._runs.get(order.task_id)
            if known is not None:
                return known, False
            run = self._runs[order.task_id] = Run(order, None, unborn(order.task_id))
            return run, True

    def run(self, task_id: str) -> Run | None:
        return self._runs.get(task_id)

    def runs(self) -> list[Run]:
        with self._lock:
            return list(self._runs.values())

    def known(self) -> frozenset[str]:
        """Every task that a run or a record tells of."""
        with self._lock:
            return frozenset((*self._runs, *self._records))

    def drop(self, run: Run) -> None:
        """A launch did not come about."""
        with self._lock:
            if self._runs.get(run.task_id) is run:
                del self._runs[run.task_id]

    def forget(self, task_id: str) -> Run | None:
        """The task is over; its run, if there was one."""
        with self._lock:
            self._records.pop(task_id, None)
            self._forgotten[task_id] = None
            while len(self._forgotten) > _FORGOTTEN_KEPT:
                self._forgotten.popitem(last=False)
            run = self._runs.pop(task_id, None)
        if run is not None:
            run.forgotten = True
        return run

    def was_forgotten(self, task_id: str) -> bool:
        return task_id in self._forgotten

    # ---- what the keeper said ------------------------------------------------------------------------------

    def record(self, task_id: str) -> Record | None:
        return self._records.get(task_id)

    def known_records(self) -> Mapping[str, Record]:
        """All of them, by task."""
        return self._records

    def note(self, task_id: str, record: Record) -> None:
        with self._lock:
            self._records[task_id] = {**self._records.get(task_id, {}), **record}

    def strange_records(self, known: Iterable[str]) -> list[Record]:
        """Those of tasks that are neither `known` nor have a run here."""
        with self._lock:
            strange = self._records.keys() - self._runs.keys() - set(known)
            return [self._records[task_id] for task_id in strange]

    @property
    def synced(self) -> bool:
        """True once the keeper's list has come."""
        return self._synced

    def when_synced(self, job: Callable[[], None]) -> bool:
        """Keep `job` for when the keeper's list comes; False when it is there already."""
        with self._lock:
            if not self._synced:
                self._until_synced.append(job)
            return not self._synced

    def sync(self, records: Iterable[Record]) -> tuple[list[Callable[[], None]], list[Record]]:
        """Take a new list; (what waited for it, the records in it of tasks that are forgotten)."""
        with self._lock:
            fresh = {record["task"]: record for record in records}
            over = [fresh.pop(task_id) for task_id in self._forgotten.keys() & fresh.keys()]
            self._records, self._synced = fresh, True
            waiting, self._until_synced = self._until_synced, []
            return waiting, over
