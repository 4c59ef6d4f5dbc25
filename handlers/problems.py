"""Errors as RFC 9457 problems: the only place where an exception becomes an answer. Called by `handlers.base`; pure."""

from __future__ import annotations

import http
from typing import Any

from tornado.web import HTTPError

from platformd.errors import PlatformError

CONTENT_TYPE = "application/problem+json"

# What Tornado itself refuses, in the words of the contract.
_TORNADO: dict[int, tuple[str, str]] = {
    400: ("MALFORMED", "the request cannot be read"),
    404: ("NOT_FOUND", "there is nothing at this path"),
    405: ("METHOD_NOT_ALLOWED", "this path does not take that method"),
}


def translated(error: BaseException | None, status: int) -> PlatformError:
    """The platform's error for whatever a handler raised; what nobody foresaw tells nothing of itself."""
    if isinstance(error, PlatformError):
        return error
    if isinstance(error, HTTPError):
        status = error.status_code
    if status in _TORNADO:
        code, message = _TORNADO[status]
        return PlatformError(message, code=code, status=status)
    if 400 <= status < 500:
        return PlatformError(http.HTTPStatus(status).phrase.lower(), code="MALFORMED", status=status)
    return PlatformError("an error inside platformd; its log has the request id", code="INTERNAL", status=500)


def document(error: PlatformError, request_id: str) -> dict[str, Any]:
    """The problem's JSON."""
    problem: dict[str, Any] = {
        "type": f"urn:platformd:problem:{error.code.lower().replace('_', '-')}",
        "title": http.HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "request_id": request_id,
    }
    problem |= error.more
    if error.faults:
        problem["errors"] = [{"pointer": fault.pointer, "message": fault.message} for fault in error.faults]
    return problem
