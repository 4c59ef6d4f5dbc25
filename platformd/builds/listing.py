"""What a commit's tree holds, looked at before any of it is written. Pure.

Refused is what would lie outside the tree, what git would take for its own, and what is larger than allowed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

LINK, MODULE = "120000", "160000"
MOST_ENTRIES = 200_000
_LONGEST_SHOWN = 120
_MOST_FOLLOWED = 40  # the kernel gives up there, too
_MOST_STEPS = 2_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """`size` is 0 for what is no file; `object` names its content."""

    mode: str
    object: str
    size: int
    path: str


class Unsafe(Exception):
    """The tree is not written; says what is wrong with it."""


class Excess(Exception):
    """The tree is larger than allowed."""


def parse(listing: bytes) -> Iterator[Entry]:
    """The entries of `git ls-tree -r -l -z`, made one by one: there may be millions."""
    start = 0
    while (end := listing.find(b"\0", start)) != -1:
        about, _, path = listing[start:end].partition(b"\t")
        start = end + 1
        mode, _, object, size = about.decode("ascii").split()
        yield Entry(mode, object, 0 if size == "-" else int(size), path.decode("utf-8", "surrogateescape"))


def check(entries: Iterable[Entry], limit: int) -> list[Entry]:
    """All of them. Unsafe for a path that leads elsewhere, Excess beyond `limit` bytes or too many entries, of which no
    more are taken then."""
    total = 0
    found: list[Entry] = []
    for entry in entries:
        check_path(entry.path)
        total += entry.size
        if total > limit:
            raise Excess(f"the tree has more than {limit} bytes")
        if len(found) == MOST_ENTRIES:
            raise Excess(f"the tree has more than {MOST_ENTRIES} entries")
        found.append(entry)
    return found


def check_path(path: str) -> None:
    """Unsafe for a path that is not plainly below the tree."""
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise Unsafe(f"{shown(path)} leads out of the tree")
    if any(part.lower().rstrip(". ") == ".git" for part in parts):
        raise Unsafe(f"{shown(path)} would be git's own")


def check_links(links: Mapping[str, str]) -> None:
    """Unsafe when one of the symbolic links, path → target, leads out of the tree, be it by way of others; Excess when
    it takes too long to tell."""
    steps = 0
    for path, target in links.items():
        for _ in _walk(path, target, links):
            steps += 1
            if steps > _MOST_STEPS:
                raise Excess("the tree has too many symbolic links that lead to each other")


def _walk(path: str, target: str, links: Mapping[str, str]) -> Iterator[None]:
    """Follows a link as the kernel would, a step at a time."""
    here = path.split("/")[:-1]
    ahead: deque[str] = deque()
    followed = 0

    def follow(found: str) -> None:
        if found.startswith("/"):
            raise _outside(path, target)
        ahead.extendleft(reversed(found.split("/")))

    follow(target)
    while ahead and followed < _MOST_FOLLOWED:
        yield
        part = ahead.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                raise _outside(path, target)
            here.pop()
            continue
        here.append(part)
        further = links.get("/".join(here))
        if further is not None:
            followed += 1
            here.pop()
            follow(further)


def _outside(path: str, target: str) -> Unsafe:
    return Unsafe(f"the link {shown(path)} leads out of the tree, to {shown(target)}")


def shown(text: str) -> str:
    """A name out of a repository as it may be shown."""
    return ascii(text[:_LONGEST_SHOWN])
