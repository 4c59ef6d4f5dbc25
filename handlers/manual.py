"""`/docs`: the manual and the API reference, without anything from elsewhere."""

from __future__ import annotations

from functools import cache

from handlers import openapi
from handlers.base import Handler
from handlers.operation import Content, Scope, operation
from platformd import manual, reference
from platformd.errors import NotFound

PAGE = Content(("text/html",))
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class _PageHandler(Handler):
    BOUND_CALLERS = True  # nothing in it is about an app

    def show(self, text: str | bytes, kind: str = "text/html; charset=utf-8") -> None:
        self.set_header("Content-Type", kind)
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.finish(text)


class ManualHandler(_PageHandler):
    """`/docs`."""

    @operation("Read the manual", Scope.READ, answers={200: PAGE})
    def get(self) -> None:
        self.no_query()
        self.show(manual.index())


class StyleHandler(_PageHandler):
    """`/docs/style.css`."""

    @operation("Get the stylesheet of the manual", Scope.READ, answers={200: Content(("text/css",))})
    def get(self) -> None:
        self.no_query()
        self.show(manual.stylesheet(), "text/css; charset=utf-8")


class ReferenceHandler(_PageHandler):
    """`/docs/api`."""

    routes: openapi.Routes

    def initialize(self, *, routes: openapi.Routes, **shared: object) -> None:  # type: ignore[override]  # by name
        super().initialize(**shared)  # type: ignore[arg-type]
        self.routes = routes

    @operation("Read the API reference", Scope.READ, answers={200: PAGE})
    def get(self) -> None:
        self.no_query()
        self.show(_reference(tuple(self.routes), self.context.version))


class ManualPageHandler(_PageHandler):
    """`/docs/NAME`."""

    @operation("Read a page of the manual", Scope.READ, answers={200: PAGE}, problems=("404 PAGE_NOT_FOUND",))
    def get(self, page: str) -> None:
        self.no_query()
        text = manual.page(page)
        if text is None:
            there = ", ".join(manual.names())
            raise NotFound(f"the manual has no page {page!r}; there are {there}", code="PAGE_NOT_FOUND")
        self.show(text)


@cache
def _reference(routes: openapi.Routes, version: str) -> str:
    return reference.page(openapi.document(routes, version))
