"""The dashboard: files of the package, the same for everybody, read once.

They are public wherever the API is not, since a page that asks for a token must come without one; everything that it
shows comes from the API, which asks. Loop thread only.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import platformd
from handlers.base import Handler
from handlers.operation import FILE, Content, operation
from platformd.errors import NotFound

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
        self.no_query()
        file = _files().get(name)
        if file is None:
            raise NotFound(f"the dashboard has no file {name[:200]!r}")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("ETag", file.etag)
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Content-Type", file.type)
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return
        self.finish(file.content)


class DashboardHandler(_FileHandler):
    """`/`."""

    @operation("Open the dashboard", None, answers={200: Content(("text/html",))})
    def get(self) -> None:
        self.show("index.html")


class DashboardFileHandler(_FileHandler):
    """`/dashboard/NAME`."""

    @operation("Get a file of the dashboard", None, answers={200: FILE}, problems=("404 NOT_FOUND",))
    def get(self, name: str) -> None:
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
