"""The answers the gateway gives itself: problem+json, or a small page for a browser's navigation.

Called by `server` through `Client.reply`. Pure.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from http.client import responses
from typing import Any

from msgspec import json

from platformd.gateway.protocol import HostRefusal, Refusal, WakeFailed

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;color:#222}}
code,pre{{color:#666;white-space:pre-wrap}}</style></head>
<body><h1>{title}</h1><p>{detail}</p>{more}<p><code>{code} · {request_id}</code></p></body></html>
"""


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
        content = self._page(title, members) if page else json.encode(members)
        kind = "text/html; charset=utf-8" if page else "application/problem+json"
        head = (
            f"HTTP/1.1 {self.status} {title}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
            f"Cache-Control: no-store\r\nX-Request-Id: {members['request_id']}\r\n"
        )
        if self.code == "ASLEEP":
            head += f"X-Platformd-State: {self.state}\r\n"
        if self.retry_after is not None:
            head += f"Retry-After: {self.retry_after}\r\n"
        if close:
            head += "Connection: close\r\n"
        return head.encode() + b"\r\n" + (content if body else b"")

    def _page(self, title: str, members: dict[str, Any]) -> bytes:
        lines = members.get("last_lines") or []
        names = members.get("names") or []
        more = "".join(f"<p>{html.escape(str(name))}</p>" for name in names)
        if lines:
            more += f"<pre>{html.escape(chr(10).join(map(str, lines)))}</pre>"
        return _PAGE.format(
            title=f"{self.status} {title}",
            detail=html.escape(self.detail),
            more=more,
            code=self.code,
            request_id=members["request_id"],
        ).encode()
