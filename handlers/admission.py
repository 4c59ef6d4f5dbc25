"""Who may call at all: names the API answers to, and pages of other origins that may not change anything.

Against DNS rebinding a Host must be one of ours; against forged requests from a browser a state-changing request
must not come from a foreign page. Called for every request by `handlers.base`; loop thread only (it keeps a cache).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from platformd.errors import Forbidden, PlatformError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?\Z")
_REMEMBERED = 256


class Admission:
    """`bound` is the address the API listens on; listening everywhere, every address of the machine is it."""

    def __init__(self, bound: str, public_host: str | None, cors_origins: Iterable[str]) -> None:
        self._names = {"localhost", bound.lower()} | ({public_host.lower()} if public_host else set())
        self._bound_everywhere = _is_unspecified(bound)
        self.cors_origins = frozenset(cors_origins)
        self._verdicts: dict[str, bool] = {}

    def check_host(self, host: str) -> None:
        """Misdirected (421) unless `host`, a Host header, is ours."""
        verdict = self._verdicts.get(host)
        if verdict is None:
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            verdict = self._verdicts[host] = self._is_ours(host)
        if not verdict:
            raise PlatformError(
                f"this server does not answer to the host {host[:80]!r}; "
                "call it by localhost, its address or --public-host",
                code="MISDIRECTED_HOST",
                status=421,
            )

    def check_origin(self, host: str, origin: str | None, fetch_site: str | None) -> None:
        """Forbidden when a page of another origin sends a request that changes something."""
        if origin is not None:
            if origin in self.cors_origins or _authority(origin) == host.lower():
                return
            raise Forbidden(
                f"a page of {origin[:80]!r} may not change anything here; allow it with --cors-origin",
                code="FOREIGN_ORIGIN",
            )
        if fetch_site == "cross-site":
            raise Forbidden("a page of another site may not change anything here", code="FOREIGN_ORIGIN")

    def _is_ours(self, host: str) -> bool:
        match = _HOST.match(host)
        if match is None:
            return False
        name = match[1].strip("[]").lower().removesuffix(".")
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._bound_everywhere


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _authority(origin: str) -> str:
    scheme, _, authority = origin.partition("://")
    return authority.lower() if scheme in ("http", "https") else ""
