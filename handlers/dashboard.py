"""The dashboard: files of the package, the same for everybody, read once.

The page needs a token where the API does; without one a browser gets it with a 401, and it asks. Its other files are
public, since a page that asks for a token must come without one; all it shows comes from the API. Loop thread only.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import platformd
from handlers.base import Handler
from handlers.operation import FILE, Content, Scope, operation
from platformd.errors import NotFound, Unauthenticated

FOLDER = Path(platformd.__file__).parent / "web" / "dashboard"
POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    content: bytes
    type: str
    etag: str


class _FileHandler(Handler):
    def show(self, name: str) -> None:
        """Browsers ask each time whether it is still the same."""
        file = _files().get(name)
        if file is None:
            raise NotFound(f"the dashboard has no file {name[:200]!r}")
        self.set_header("ETag", file.etag)
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return
        self.send(file)

    def send(self, file: File) -> None:
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Content-Type", file.type)
        self.finish(file.content)


class DashboardHandler(_FileHandler):
    """`/`."""

    BOUND_CALLERS = True

    @operation("Open the dashboard", Scope.READ, answers={200: Content(("text/html",))})
    def get(self) -> None:
        self.no_query()
        self.show("index.html")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A browser without a token gets the page all the same: it asks for one."""
        raised = kwargs.get("exc_info", (None, None, None))[1]
        if not isinstance(raised, Unauthenticated) or "text/html" not in self.request.headers.get(
            "Accept", ""
        ):
            super().write_error(status_code, **kwargs)
            return
        self.set_status(raised.status)
        self.set_header("WWW-Authenticate", self.problem_headers["WWW-Authenticate"])
        self.send(_files()["index.html"])


class DashboardFileHandler(_FileHandler):
    """`/dashboard/NAME`."""

    @operation("Get a file of the dashboard", None, answers={200: FILE}, problems=("404 NOT_FOUND",))
    def get(self, name: str) -> None:
        self.no_query()
        self.show(name)


@cache
def _files() -> dict[str, File]:
    return {
        path.relative_to(FOLDER).as_posix(): _file(path)
        for path in FOLDER.rglob("*")
        if path.suffix in _TYPES
    }


def _file(path: Path) -> File:
    content = path.read_bytes()
    return File(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
