"""The API's description of itself."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from handlers import openapi
from handlers.base import Handler
from handlers.operation import Scope, operation


class OpenApiHandler(Handler):
    """`/api/v1/openapi.json`."""

    BOUND_CALLERS = True
    routes: openapi.Routes

    def initialize(self, *, routes: openapi.Routes, **shared: Any) -> None:  # type: ignore[override]  # by name
        super().initialize(**shared)
        self.routes = routes

    @operation("Get the OpenAPI document", Scope.READ, answers={200: dict[str, Any]})
    def get(self) -> None:
        self.no_query()
        self.set_header("Content-Type", "application/json")
        self.finish(_encoded(tuple(self.routes), self.context.version))


@cache
def _encoded(routes: openapi.Routes, version: str) -> bytes:
    return msgspec.json.encode(openapi.document(routes, version))
