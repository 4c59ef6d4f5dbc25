"""What tasks used over the last hour, and deployments with them: a sample each quarter of a minute, in memory only.

One watcher in serve. Counters are read on a thread; what they said is kept, asked for and forgotten on the loop's.
Only what is awake is sampled: an hour of one task takes 4 kB, and goes an hour after its end.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog

from actors.traffic import Load
from platformd import clock
from platformd.drivers.base import Driver, Usage
from platformd.shown import timestamp
from platformd.store import Store

EVERY_SECS = 15
KEPT_SECS = 3600
_KEPT = KEPT_SECS // EVERY_SECS
_LIVE = "SELECT id, deployment_id, app_id FROM tasks WHERE live = 1"
_NO_LOAD = Load()
_log = structlog.get_logger("usage")
Json = dict[str, Any]


class Owned(NamedTuple):
    """One live task and whose it is."""

    task_id: str
    deployment_id: str
    app_id: str


class Look(NamedTuple):
    """What all live tasks used at one instant, `at` in seconds of CLOCK_BOOTTIME."""

    at: float
    used: Mapping[Owned, Usage]


class _Series:
    """Rows of numbers, each of them stamped in whole seconds; the oldest leave."""

    __slots__ = ("_columns",)

    def __init__(self, kinds: str) -> None:
        """`kinds` are the typecodes of `array`, one a column."""
        self._columns: tuple[array[Any], ...] = tuple(array(kind) for kind in "I" + kinds)

    @property
    def last(self) -> int:
        """When the newest row was added, 0 without any."""
        stamps = self._columns[0]
        return int(stamps[-1]) if stamps else 0

    def add(self, at: datetime, *row: float) -> None:
        for column, value in zip(self._columns, (int(at.timestamp()), *row), strict=True):
            column.append(value)
            if len(column) > _KEPT:
                column.pop(0)

    def rows(self, *names: str) -> Iterator[Json]:
        for at, *values in zip(*self._columns, strict=True):
            shown = (round(value, 2) for value in values)
            yield {"at": timestamp(datetime.fromtimestamp(at, UTC)), **dict(zip(names, shown, strict=True))}


class UsageHistory:
    """`loads` is what the gateway has for each deployment, kept up to date by whoever made it."""

    def __init__(self, store: Store, drivers: Collection[Driver], loads: Mapping[str, Load]) -> None:
        self._store, self._drivers, self._loads = store, drivers, loads
        self._tasks: defaultdict[str, _Series] = defaultdict(lambda: _Series("fQ"))
        self._deployments: defaultdict[str, _Series] = defaultdict(lambda: _Series("HfQI"))
        self._last: dict[str, tuple[float, int]] = {}
        self._awake: list[Json] = []

    async def watch(self) -> None:
        """For ever."""
        while True:
            try:
                self.keep(await asyncio.to_thread(self.look))
            except Exception:
                _log.exception("usage cannot be sampled", again_in_secs=EVERY_SECS)
            await asyncio.sleep(EVERY_SECS)

    def look(self) -> Look:
        """Reads rows and counters; any one thread at a time."""
        owned = [Owned(*row) for row in self._store.reader.rows(_LIVE)]
        used: dict[str, Usage] = {}
        for driver in self._drivers:
            used |= driver.usage([task.task_id for task in owned])
        return Look(
            clock.boot_ns() / 1e9, {task: used[task.task_id] for task in owned if task.task_id in used}
        )

    def keep(self, look: Look) -> None:
        now = clock.now()
        by_deployment: defaultdict[Owned, list[tuple[float, int]]] = defaultdict(list)
        for task, usage in look.used.items():
            sample = self._percent(task.task_id, look.at, usage), usage.memory_bytes
            self._tasks[task.task_id].add(now, *sample)
            by_deployment[task._replace(task_id="")].append(sample)
        self._last = {task.task_id: (look.at, usage.cpu_usec) for task, usage in look.used.items()}
        self._awake = []
        for (_, id, app_id), samples in by_deployment.items():
            total = {"tasks": len(samples), "cpu_percent": sum(cpu for cpu, _ in samples)}
            total["memory_bytes"] = sum(memory for _, memory in samples)
            self._deployments[id].add(now, *total.values(), self._loads.get(id, _NO_LOAD).inflight)
            total["cpu_percent"] = round(total["cpu_percent"], 2)
            self._awake.append({"deployment_id": id, "app_id": app_id, **total})
        for kept in (self._tasks, self._deployments):
            _forget(kept, now.timestamp() - KEPT_SECS)

    def _percent(self, task_id: str, at: float, usage: Usage) -> float:
        """Of one core since the last look; at the first one as the driver has it."""
        since, before = self._last.get(task_id, (at, 0))
        return max(0, usage.cpu_usec - before) / 1e4 / (at - since) if at > since else usage.cpu_percent

    # ---- for handlers ----

    def awake(self, app_id: str | None) -> Json:
        """What each deployment with live tasks used at the last look, and its requests now."""
        shown = [one for one in self._awake if app_id is None or one["app_id"] == app_id]
        return {
            "interval_secs": EVERY_SECS,
            "data": [one | {"requests": self._requests(one["deployment_id"])} for one in shown],
        }

    def of_deployment(self, id: str) -> Json:
        """Sums over its tasks, oldest first."""
        series = self._deployments.get(id)
        names = ("tasks", "cpu_percent", "memory_bytes", "requests_in_flight")
        return {
            "deployment_id": id,
            "interval_secs": EVERY_SECS,
            "requests": self._requests(id),
            "samples": [*series.rows(*names)] if series is not None else [],
        }

    def of_task(self, id: str) -> Json:
        series = self._tasks.get(id)
        rows = series.rows("cpu_percent", "memory_bytes") if series is not None else ()
        return {"task_id": id, "interval_secs": EVERY_SECS, "samples": [*rows]}

    def _requests(self, deployment_id: str) -> Json:
        load = self._loads.get(deployment_id, _NO_LOAD)
        return {"in_flight": load.inflight, "held": load.held}


def _forget(kept: dict[str, _Series], before: float) -> None:
    for id in [id for id, series in kept.items() if series.last < before]:
        del kept[id]
