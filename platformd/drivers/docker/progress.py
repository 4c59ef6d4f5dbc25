"""How far a pull is, out of what the engine says of each layer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ARRIVED = frozenset(
    {"Download complete", "Pull complete", "Already exists", "Extracting", "Verifying Checksum"}
)


class Progress:
    """Layers by their short ids: [bytes here, bytes in all, arrived]."""

    def __init__(self) -> None:
        self._layers: dict[str, list[int]] = {}

    def take(self, said: Mapping[str, Any]) -> str | None:
        """Take note of one message; the engine's words when it is an error."""
        if "error" in said:
            return str((said.get("errorDetail") or {}).get("message") or said["error"])
        layer, status = said.get("id"), str(said.get("status", ""))
        if layer is None or status.startswith("Pulling from"):
            return None
        known = self._layers.setdefault(str(layer), [0, 0, 0])
        detail = said.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            known[:2] = int(detail.get("current", 0)), int(detail["total"])
        if status in _ARRIVED:
            known[0], known[2] = known[1], 1
        return None

    def __str__(self) -> str:
        here, total, arrived, layers = self._sums()
        return f"{arrived} of {layers} layers, {here / 1e6:.1f} of {total / 1e6:.1f} MB"

    def describe(self) -> dict[str, object]:
        here, total, arrived, layers = self._sums()
        return {"state": "pulling", "layers": layers, "arrived": arrived, "bytes": here, "total_bytes": total}

    def _sums(self) -> tuple[int, int, int, int]:
        layers = self._layers.values()
        return (
            sum(one[0] for one in layers),
            sum(one[1] for one in layers),
            sum(one[2] for one in layers),
            len(layers),
        )
