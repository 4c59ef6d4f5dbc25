"""The answers the gateway gives itself: problem+json, or a small page for a browser's navigation.

Called by `server` through `Client.reply`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http.client import responses
from typing import Any

from msgspec import json

from platformd.gateway import pages
from platformd.gateway.protocol import HostRefusal, Refusal, WakeFailed


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer to give: RFC 9457 members; `extra` ones stand beside them."""

    status: int
    code: str
    detail: str
    retry_after: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    # What only an operator should see; dropped unless errors are shown in full.
    private: dict[str, Any] = field(default_factory=dict)
    # The deployment's phase, said in a header by what is refused because it sleeps.
    state: str = "asleep"

    @classmethod
    def refusal(cls, refusal: Refusal | None) -> Problem:
        """What a deployment that may not be woken answers."""
        refusal = refusal or Refusal()
        return cls(refusal.status, refusal.code, refusal.detail, refusal.retry_after)

    @classmethod
    def asleep(cls, state: str) -> Problem:
        """For a request that wakes nothing."""
        detail = "No task is ready, and requests like this one wake nothing."
        return cls(503, "ASLEEP", detail, state=state)

    @classmethod
    def no_deployment(cls, refusal: HostRefusal) -> Problem:
        """A known address that leads nowhere; names those that would."""
        retry_after = 1 if refusal.status == 503 else None
        extra = {"names": list(refusal.names)} if refusal.names else {}
        return cls(refusal.status, refusal.code, refusal.detail, retry_after, extra)

    @classmethod
    def wake_failed(cls, failure: WakeFailed) -> Problem:
        """Why the wake that held requests waited for has failed."""
        private = {
            name: value
            for name in ("exit_code", "signal", "last_lines")
            if (value := getattr(failure, name)) is not None
        }
        extra = {"phase": failure.phase} if failure.phase else {}
        return cls(failure.status, failure.code, failure.detail, failure.retry_after, extra, private)

    def render(self, request_id: bytes, *, full: bool, page: bool, close: bool, body: bool) -> bytes:
        """The whole HTTP/1.1 answer; without `body` only its head (for HEAD)."""
        title = responses.get(self.status, "Error")
        members = {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id.decode("ascii"),
            **self.extra,
            **(self.private if full else {}),
        }
        kind, extra = "application/problem+json", ""
        content = json.encode(members)
        if page:
            content, policy = self.page(members)
            kind = "text/html; charset=utf-8"
            extra = f"Content-Security-Policy: {policy}\r\nX-Content-Type-Options: nosniff\r\n"
        head = (
            f"HTTP/1.1 {self.status} {title}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
            f"Cache-Control: no-store\r\nX-Request-Id: {members['request_id']}\r\n{extra}"
        )
        if self.code == "ASLEEP":
            head += f"X-Platformd-State: {self.state}\r\n"
        if self.retry_after is not None:
            head += f"Retry-After: {self.retry_after}\r\n"
        if close:
            head += "Connection: close\r\n"
        return head.encode() + b"\r\n" + (content if body else b"")

    def page(self, members: dict[str, Any]) -> tuple[bytes, str]:
        """The same for a person, and the policy it needs."""
        content = pages.error_page(
            title=f"{self.status} {members['title']}",
            detail=self.detail,
            names=map(str, members.get("names") or ()),
            lines=map(str, members.get("last_lines") or ()),
            retry_after=self.retry_after,
            marks=(self.code, members["request_id"]),
        )
        return content, pages.ERROR_POLICY


@dataclass(frozen=True, slots=True)
class Waking(Problem):
    """For a navigation that has waited for a wake long enough: a page that waits in its stead."""

    host: str = ""

    @classmethod
    def at(cls, host: str, phase: str, retry_after: int) -> Waking:
        """`retry_after`: seconds the wake may still take."""
        return cls(503, "WAKING", "The app is starting.", retry_after, state=phase, host=host)

    def page(self, _: dict[str, Any]) -> tuple[bytes, str]:
        """See `Problem.page`."""
        content = pages.wake_page(host=self.host, phase=self.state, retry_after=self.retry_after or 1)
        return content, pages.WAKE_POLICY
