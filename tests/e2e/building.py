"""What tests of builds do again and again with a real server."""

from __future__ import annotations

import io
import tarfile
from typing import Any
from urllib.parse import urlencode

from tests.e2e.platform import Platform
from tests.support import eventually

PATIENCE = 60.0


def make_app(platform: Platform, name: str) -> str:
    return platform.api("POST", "/apps", {"name": name}).json["id"]


def set_source(platform: Platform, app_id: str, **source: Any) -> None:
    answer = platform.api("PUT", f"/apps/{app_id}/source", {"type": "github", **source})
    assert answer.status == 200, answer.text


def packed(files: dict[str, str], *links: tuple[str, str], form: str = "gz") -> bytes:
    """A tar archive of executable files, and of symbolic links (name, target)."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=f"w:{form}") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o755
            tar.addfile(member, io.BytesIO(text.encode()))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return archive.getvalue()


def send(platform: Platform, app_id: str, archive: bytes, **query: str) -> str:
    """The build of a tree that is sent."""
    asked = urlencode({"app_id": app_id, **query})
    answer = platform.api("POST", f"/builds?{asked}", archive, {"Content-Type": "application/gzip"})
    assert answer.status == 202, answer.text
    return answer.json["id"]


def trees_kept(platform: Platform) -> list[str]:
    """The archives in the data directory, unfinished ones included."""
    return [path.name for path in (platform.data_dir / "builds" / "uploads").iterdir()]


def build_of(platform: Platform, build_id: str) -> dict[str, Any]:
    return platform.api("GET", f"/builds/{build_id}").json


def settled(platform: Platform, build_id: str, within: float = PATIENCE) -> dict[str, Any]:
    """The build once nothing of it runs any more."""

    def done() -> dict[str, Any] | None:
        build = build_of(platform, build_id)
        return build if build["phase"] == "done" else None

    return eventually(done, within)


def log_of(platform: Platform, build_id: str) -> list[str]:
    return [entry["message"] for entry in platform.api("GET", f"/builds/{build_id}/logs").json]
