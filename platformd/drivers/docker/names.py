"""Names of images: repository, tag, digest. Pure."""

from __future__ import annotations

from collections.abc import Iterable

HUB = "docker.io"


def split(image: str) -> tuple[str, str]:
    """(repository, tag or digest) as the engine wants them; "latest" when neither is given."""
    repository, at, digest = image.partition("@")
    if at:
        return _without_tag(repository), digest
    plain = _without_tag(image)
    return plain, image[len(plain) + 1 :] or "latest"


def _without_tag(image: str) -> str:
    head, colon, tail = image.rpartition(":")
    return head if colon and "/" not in tail else image


def pinned(image: str, digest: str) -> str:
    """The same repository, and exactly that content."""
    return f"{split(image)[0]}@{digest}"


def digest_of(image: str, repo_digests: Iterable[str]) -> str | None:
    """The digest by which the image's own registry knows it, out of the engine's RepoDigests."""
    wanted = _familiar(split(image)[0])
    for known in repo_digests:
        repository, _, digest = known.partition("@")
        if _familiar(repository) == wanted:
            return digest
    return None


def _familiar(repository: str) -> str:
    return repository.removeprefix(f"{HUB}/").removeprefix("library/")
