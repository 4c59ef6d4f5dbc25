"""Holds answers against what the handlers declare: the type of the JSON, and the code of a problem."""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import unquote

import msgspec

from handlers.base import Handler
from handlers.operation import Content, everything_refused, operation_of
from handlers.routes import ROUTES

UNDECLARED = {"NOT_FOUND", "METHOD_NOT_ALLOWED"}  # of paths and methods that no handler serves


def hold(method: str, target: str, status: int, content_type: str, body: bytes) -> None:
    """Fails unless an answer is one that its operation declares."""
    path, _, _ = target.partition("?")
    kind = _handler_of(unquote(path))
    declared = operation_of(kind, method) if kind is not None else None
    if declared is None or status == 304 or not body or method == "HEAD":
        return
    if content_type == "application/problem+json":
        code = f"{status} {msgspec.json.decode(body)['code']}"
        assert code.split()[1] in UNDECLARED or code in everything_refused(declared, method), (
            method,
            path,
            code,
        )
        return
    assert status in declared.answers, (method, path, status)
    wanted = declared.answers[status]
    if not isinstance(wanted, Content):
        msgspec.json.decode(body, type=wanted)


@cache
def _handler_of(path: str) -> type[Handler] | None:
    return next((kind for pattern, kind in ROUTES if re.fullmatch(pattern, path)), None)
