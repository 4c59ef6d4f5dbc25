"""Whether the service can do its work, part by part, and whether it has finished recovering. Loop thread only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

REQUIRED = ("store", "native_driver", "gateway")


class Readiness:
    """Called it gives what `/readyz` shows."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[bool, str | None]] = dict.fromkeys(REQUIRED, (False, "starting"))
        self._ready = asyncio.Event()
        self.recovering = True

    def set(self, part: str, well: bool, detail: str | None = None) -> None:
        """Note how a part is; `detail` says why it is not well."""
        self._parts[part] = (well, detail)
        self._judge()

    def recovered(self) -> None:
        """From now on writes are taken."""
        self.recovering = False
        self._judge()

    async def wait(self) -> None:
        await self._ready.wait()

    def __call__(self) -> Mapping[str, Any]:
        checks = {
            name: {"status": "ok"} if well else {"status": "unready", "detail": detail}
            for name, (well, detail) in self._parts.items()
        }
        ready = self._ready.is_set()
        return {"ready": ready, "status": "ok" if ready else "unready", "checks": checks}

    def _judge(self) -> None:
        if not self.recovering and all(well for well, _ in self._parts.values()):
            self._ready.set()
        else:
            self._ready.clear()
