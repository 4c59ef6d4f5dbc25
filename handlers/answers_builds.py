"""Answers about sources, builds and the trigger. See `answers`."""

from __future__ import annotations

from typing import Literal

from handlers.answers import Answer, Commit, Instant, Reason
from handlers.words import Id


class Recipe(Answer):
    kind: Literal["command", "dockerfile"]
    command: str | None
    artifact_path: str | None
    dockerfile: str | None


class Source(Answer):
    """Secrets that are set are `***`."""

    app_id: Id
    type: Literal["github"]
    repository: str
    branch: str
    root_dir: str | None
    build: Recipe
    process_type: Literal["tish", "docker"]
    environment: str
    auto_deploy: bool
    previews: bool
    webhook_secret: Literal["***"] | None
    access_token: Literal["***"] | None
    ssh_key: Literal["***"] | None
    created_at: Instant
    updated_at: Instant
    revision: int


class BuildLinks(Answer):
    self: str
    app: str
    logs: str
    logs_stream: str


class Build(Answer):
    """`upload` is the digest of the tree that was sent, where that was built; `commit` is known once it was fetched."""

    id: Id
    app_id: Id
    environment_slug: str
    origin: Literal["webhook", "trigger", "api", "rebuild"]
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    phase: Literal["queued", "fetching", "building", "storing", "deploying", "ending", "done"]
    reason: Reason | None
    repository: str | None
    branch: str | None
    ref: str | None
    upload: str | None
    commit: Commit | None
    artifact_id: Id | None
    image: str | None
    image_digest: str | None
    deployment_id: Id | None
    superseded_by: Id | None
    attempt: int
    created_at: Instant
    started_at: Instant | None
    ended_at: Instant | None
    updated_at: Instant
    revision: int
    links: BuildLinks


class BuildLogEntry(Answer):
    """`system` lines are platformd's own."""

    id: int
    timestamp: Instant
    build_id: Id
    stream: Literal["stdout", "stderr", "system"]
    message: str
    truncated: int | None = None


class Triggered(Answer):
    deployment_id: Id
    status: Literal["pending", "running", "succeeded", "failed", "cancelled"]
    message: str
