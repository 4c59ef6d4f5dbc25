"""Which request something is done for. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestKey:
    """An `Idempotency-Key` with all it belongs to: `id` is a digest over token, method, path and key; `fingerprint` one
    over query and body."""

    id: str
    fingerprint: str
