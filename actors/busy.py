"""Looks at keep_awake rules: does a task use that much processor, does its busy path answer 2xx?

Asked by deployment actors from any thread; works on the loop's thread and tells the deployment. The path is asked at
the task's own address, not through the gateway, for which that would be activity.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping

from actors.directory import Directory
from actors.messages import Key, Lane, ShuttingDown
from platformd import clock
from platformd.domain.deployment.state import Deployment, Member
from platformd.domain.events import Looked
from platformd.domain.spec import ProcessType
from platformd.drivers.base import Driver, Usage

_PATIENCE = 5.0
_MOST_REMEMBERED = 10_000
_GOOD = re.compile(rb"HTTP/1\.[01] 2[0-9][0-9][ \r]")


class Busy:
    """Looks end with the loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, directory: Directory, drivers: Mapping[ProcessType, Driver]
    ) -> None:
        self._loop, self._directory, self._drivers = loop, directory, drivers
        self._under_way: set[asyncio.Task[None]] = set()
        self._seen: dict[str, tuple[float, int]] = {}

    def look(self, deployment: Deployment) -> None:
        """Any thread; the answer is told in any case."""
        self._loop.call_soon_threadsafe(self._begin, deployment)

    def _begin(self, deployment: Deployment) -> None:
        task = self._loop.create_task(self._look(deployment))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _look(self, deployment: Deployment) -> None:
        rule, found = deployment.spec.keep_awake, None
        if rule is not None and rule.cpu_percent is not None and self._working(deployment, rule.cpu_percent):
            found = "cpu_percent"
        if (
            rule is not None
            and rule.busy_path is not None
            and await self._says_so(deployment, rule.busy_path)
        ):
            found = "busy_path"
        with contextlib.suppress(ShuttingDown):  # nobody is left to hear of it
            self._directory.tell(Key("deployment", deployment.id), Looked(found), Lane.FACT)

    def _working(self, deployment: Deployment, percent: float) -> bool:
        """Since the last look; at the first one as the driver has it."""
        driver = self._drivers[deployment.spec.process_type]
        used = driver.usage([member.task_id for member in deployment.ready])
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.clear()
        percents = [self._percent(task_id, usage) for task_id, usage in used.items()]
        return max(percents, default=0.0) > percent

    def _percent(self, task_id: str, usage: Usage) -> float:
        now = clock.boot_ns() / 1e9
        since, before = self._seen.get(task_id, (None, 0))
        self._seen[task_id] = now, usage.cpu_usec
        if since is None or now - since < 1:
            return usage.cpu_percent
        return (usage.cpu_usec - before) / 1e4 / (now - since)

    async def _says_so(self, deployment: Deployment, path: str) -> bool:
        answers = await asyncio.gather(*(_answers_well(member, path) for member in deployment.ready))
        return any(answers)


async def _answers_well(member: Member, path: str) -> bool:
    if member.address is None:
        return False
    try:
        async with asyncio.timeout(_PATIENCE):
            return await _get(*member.address, path)
    except (OSError, TimeoutError, ValueError):
        return False


async def _get(host: str, port: int, path: str) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: platformd\r\nConnection: close\r\n\r\n"
        writer.write(head.encode("ascii"))
        return _GOOD.match(await reader.readline()) is not None
    finally:
        writer.close()
