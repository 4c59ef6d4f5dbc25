"""Ends what stands still when the machine runs out of memory: deployments of mode `auto`, the longest asleep first.

One watcher in serve, on the loop; it looks each few seconds, and only when memory is short does it read rows, on a
thread. One deployment a look, so that each end can show before the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import structlog

from actors.directory import Directory
from actors.messages import Key, Lane, ShuttingDown
from platformd.domain.events import MemoryShort
from platformd.domain.spec import SleepMode
from platformd.domain.task import TaskPhase
from platformd.store import Store

_log = structlog.get_logger("pressure")
EVERY_SECS = 3.0
STALLED_PERCENT, AVAILABLE_SHARE = 10.0, 0.10


async def watch(directory: Directory, store: Store) -> None:
    """For ever."""
    while True:
        await asyncio.sleep(EVERY_SECS)
        if memory_is_short():
            await asyncio.to_thread(relieve, directory, store)


def relieve(directory: Directory, store: Store) -> None:
    """Have the one that has stood still for longest stopped, if there is one. Reads rows; any thread."""
    _, longest = min(_frozen(store), default=(None, None))
    if longest is not None:
        _log.info("memory is short: a deployment is stopped in its sleep", deployment_id=longest)
        with contextlib.suppress(ShuttingDown):
            directory.tell(Key("deployment", longest), MemoryShort(), Lane.FACT)


def _frozen(store: Store) -> Iterator[tuple[datetime, str]]:
    """Since when which deployment of mode `auto` stands still."""
    owners = {task.deployment_id for task in store.live_tasks() if task.phase is TaskPhase.FROZEN}
    for deployment_id in owners:
        state = store.deployment(deployment_id)
        if state is not None and state.frozen_since and state.spec.sleep_mode is SleepMode.AUTO:
            yield state.frozen_since, deployment_id


def memory_is_short(
    pressure: Path = Path("/proc/pressure/memory"), memory: Path = Path("/proc/meminfo")
) -> bool:
    """Work stalls for memory for more than 10 % of ten seconds, or less than 10 % of it is available. What the kernel
    does not tell is not short."""
    return _stalled(pressure) > STALLED_PERCENT or _available(memory) < AVAILABLE_SHARE


def _stalled(path: Path) -> float:
    try:
        some = path.read_text().splitlines()[0]
        return float(dict(word.split("=") for word in some.split()[1:])["avg10"])
    except (OSError, ValueError, LookupError):
        return 0.0


def _available(path: Path) -> float:
    try:
        sizes = dict(line.split(":", 1) for line in path.read_text().splitlines())
        return int(sizes["MemAvailable"].split()[0]) / int(sizes["MemTotal"].split()[0])
    except (OSError, ValueError, LookupError, ZeroDivisionError):
        return 1.0
