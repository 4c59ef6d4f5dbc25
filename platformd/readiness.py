"""Whether the service can do its work, part by part, and whether it has finished recovering. Loop thread only, but for
reading, which may happen on any."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

REQUIRED = ("store", "native_driver", "gateway")


class Health(StrEnum):
    """How a part is, best first; the whole is as its worst part."""

    OK = "ok"
    DEGRADED = "degraded"  # ready all the same
    UNREADY = "unready"


def engine_health(trouble: str | None) -> tuple[str, Health, str | None]:
    """How the Docker engine is: native apps need none, so its absence is no reason to be unready."""
    if trouble is None:
        return "docker", Health.OK, None
    return "docker", Health.DEGRADED, f"the Docker engine does not answer ({trouble}): containers wait for it"


class Readiness:
    """Called it gives what `/readyz` shows."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[Health, str | None]] = dict.fromkeys(
            REQUIRED, (Health.UNREADY, "starting")
        )
        self._ready = asyncio.Event()
        self.recovering = True

    def set(self, part: str, health: Health, detail: str | None = None) -> None:
        """Note how a part is; `detail` says why it is not well."""
        self._parts[part] = (health, detail)
        self._judge()

    def recovered(self) -> None:
        """From now on writes are taken."""
        self.recovering = False
        self._judge()

    async def wait(self) -> None:
        await self._ready.wait()

    def __call__(self) -> Mapping[str, Any]:
        checks = {
            name: {"status": health.value, **({} if health is Health.OK else {"detail": detail})}
            for name, (health, detail) in self._parts.copy().items()
        }
        return {"ready": self._ready.is_set(), "status": self._worst().value, "checks": checks}

    def _worst(self) -> Health:
        if self.recovering:
            return Health.UNREADY
        return max((health for health, _ in self._parts.values()), key=list(Health).index)

    def _judge(self) -> None:
        if self._worst() is Health.UNREADY:
            self._ready.clear()
        else:
            self._ready.set()
