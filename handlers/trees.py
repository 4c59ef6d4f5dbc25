"""A tree that is sent as an archive, to be built. Loop thread only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET
from tornado.httputil import HTTPServerRequest

from handlers import schemas_builds
from handlers.builds import Asking, ask_for_build
from handlers.operation import ARCHIVE
from handlers.specs import invalid
from handlers.uploading import Uploading
from platformd.domain.build.orders import Wanted
from platformd.errors import Fault, TooLarge


def is_archive(request: HTTPServerRequest) -> bool:
    """Whether the body calls itself one."""
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return request.method == "POST" and media_type in ARCHIVE.types


def _nothing() -> None:
    """There is nothing to let go of."""


class TreeHandler(Uploading, Asking):
    """`POST /builds` with an archive."""

    BOUND_CALLERS = True
    _let_go: Callable[[], None] = staticmethod(_nothing)

    def initialize(self, **shared: Any) -> None:  # type: ignore[override]  # by name
        super().initialize(**shared)
        self.files, self.longest = self.context.trees, self.context.settings.build_source_limit << 20

    def expect(self) -> None:
        self._query = self.query(schemas_builds.TreeQuery)
        if self._query.app_id is UNSET:
            raise invalid([Fault("/app_id", "is required in the query of a build whose tree is sent")])
        self._app_id = self._query.app_id.lower()
        self.admit_app(self._app_id)
        if self.known is None:
            self._of_tree(None)
            self.read(self.context.built.source_of, self._app_id)
        self._let_go = self.context.trees.expect()

    def release(self) -> None:
        if not self.whole:
            self._let_go()

    def too_large(self) -> TooLarge:
        return TooLarge(
            f"an archive has at most {self.longest} bytes here; leave out what the build does not need, or raise "
            "--build-source-limit",
            code="SOURCE_TOO_LARGE",
        )

    @ask_for_build
    async def post(self) -> None:
        try:
            received = await self.received()
            if received is not None:
                await self.queue(self._of_tree(received[0]))
        finally:
            self._let_go()

    def _of_tree(self, sha256: str | None) -> Wanted:
        query = self._query
        return self.wanted(self._app_id, query.environment, query.deployment_id, upload=sha256)
