"""Bodies and queries of sources, builds and the trigger. See `handlers.schemas`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from handlers.schemas import PageQuery
from handlers.words import Argument, Body, Id, Slug

_NOT_IN_REFS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{")


def is_ref(text: str) -> None:
    """What git takes for the name of a branch, or for a commit."""
    ends = text.startswith(("-", "/", ".")) or text.endswith(("/", ".", ".lock"))
    if ends or _NOT_IN_REFS.search(text):
        raise ValueError(f"must be the name of a branch or tag, or a commit, not {text[:80]!r}")


def _relative(what: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        parts = text.split("/")
        if text.startswith("/") or ".." in parts or any(ord(letter) < 0x20 for letter in text):
            raise ValueError(f"must be {what} within the repository, not {text[:80]!r}")

    return check


def _is_repository(text: str) -> None:
    if text.rpartition("/")[2] in (".", "..") or text.endswith(".git"):
        raise ValueError(f'must be "owner/name" without .git, not {text[:80]!r}')


Ref = Annotated[str, Meta(min_length=1, max_length=255, extra={"check": is_ref})]
Folder = Annotated[str, Meta(min_length=1, max_length=1024, extra={"check": _relative("a folder")})]
File = Annotated[str, Meta(min_length=1, max_length=1024, extra={"check": _relative("a file")})]
Secret = Annotated[str, Meta(min_length=1, max_length=16_384)]


class RecipeBody(Body):
    """`command` leaves the executable `artifact_path` behind; a `dockerfile` ("Dockerfile") makes an image."""

    kind: Literal["command", "dockerfile"]
    command: Annotated[Argument, Meta(min_length=1)] | None = None
    artifact_path: File | None = None
    dockerfile: File | None = None


class SourceBody(Body):
    """`***` keeps the secret there is; without one there is none."""

    type: Annotated[str, Meta(max_length=40)]
    repository: Annotated[
        str,
        Meta(
            max_length=140,
            pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$",
            extra={"says": '"owner/name"', "check": _is_repository},
        ),
    ]
    build: RecipeBody
    branch: Ref = "main"
    root_dir: Folder | None = None
    process_type: Literal["tish", "docker"] | UnsetType = UNSET
    environment: Slug = "development"
    auto_deploy: bool = True
    previews: bool = False
    webhook_secret: Secret | None = None
    access_token: Secret | None = None
    ssh_key: Secret | None = None


class Trigger(Body):
    """`ref` is a commit (a tag or branch will do), else the head of `branch`, else of the source's."""

    branch: Ref | UnsetType = UNSET
    ref: Ref | UnsetType = UNSET
    skip_build: bool = False
    environment: Slug = "development"


class NewBuild(Body):
    """`ref` is a commit, tag or branch; without it the head of the source's branch is built."""

    app_id: Id
    ref: Ref | UnsetType = UNSET
    environment: Slug = "development"
    deployment_id: Id | UnsetType = UNSET


class TreeQuery(Body):
    """Of a build whose tree is sent, which needs `app_id`; a JSON body says all of it."""

    app_id: Id | UnsetType = UNSET
    environment: Slug = "development"
    deployment_id: Id | UnsetType = UNSET


class BuildsQuery(PageQuery):
    app_id: Id | UnsetType = UNSET
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"] | UnsetType = UNSET
    sort_by: Literal["created_at", "updated_at", "state", "environment"] = "created_at"
