"""What every handler does: admit, identify, time, read a body, answer JSON, turn any error into a problem.

Every path of the API is served by a subclass of `Handler`, paths that do not exist included. Its layers are
`answering`, `admitting`, `reading` and `retries`. Loop thread only.
"""

from __future__ import annotations

from tornado.web import RequestHandler

from handlers.retries import Retrying
from platformd import metrics
from platformd.errors import NotFound
from platformd.observability import debugging, get_logger

_log = get_logger("handlers")


class Handler(Retrying):
    """One resource. Subclasses define methods by HTTP's names; `HEAD` and `OPTIONS` come with them."""

    async def head(self, *args: str) -> None:
        answer = self.get(*args)
        if answer is not None:
            await answer


class NotFoundHandler(Handler):
    """Every path that nothing else serves, whatever the method."""

    def admit(self) -> None:
        self.admission.check_host(self.request.headers.get("Host", ""))
        raise NotFound(f"there is nothing at {self.request.path[:200]!r}")


def log_request(handler: RequestHandler) -> None:
    """One access line, and the count: the path without its query, which may hold a credential."""
    status, request = handler.get_status(), handler.request
    metrics.count_request(request.method or "", status)
    if status < 400 and not debugging():
        return
    line = _log.debug if status < 400 else _log.info if status < 500 else _log.warning
    line(
        "request",
        method=request.method,
        path=request.path,
        status=status,
        ms=round(request.request_time() * 1000, 2),
        request_id=getattr(request, "request_id", None),
    )
