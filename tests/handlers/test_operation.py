"""Every method of every path declares what it takes, answers and refuses."""

from __future__ import annotations

import pytest

from handlers.base import Handler
from handlers.operation import Scope, operation_of
from handlers.routes import ROUTES

METHODS = [
    (path, kind, method)
    for path, kind in ROUTES
    for method in kind.allowed_methods()
    if method not in ("HEAD", "OPTIONS")
]


@pytest.mark.parametrize(("path", "kind", "method"), METHODS)
def test_every_method_is_declared(path: str, kind: type[Handler], method: str) -> None:
    declared = operation_of(kind, method)
    assert declared is not None, f"{kind.__name__}.{method.lower()} carries no @operation"
    assert declared.summary
    assert declared.scope in (None, *Scope)
    assert all(problem[:3].isdigit() and problem[4:].isupper() for problem in declared.problems)


def test_only_health_the_dashboards_files_and_what_is_signed_are_public() -> None:
    public = {path for path, kind, method in METHODS if operation_of(kind, method).scope is None}  # type: ignore[union-attr]
    assert public == {"/healthz", "/readyz", "/dashboard/([a-z0-9./-]+)", "/api/v1/webhooks/github"}


def test_writes_need_more_than_read() -> None:
    for path, kind, method in METHODS:
        declared = operation_of(kind, method)
        assert declared is not None
        reads = method == "GET" or path.endswith("/stream-tickets")
        assert reads or declared.scope is not Scope.READ, (path, method)
