"""Deliveries in the shapes of GitHub's documents, with what is read of them and some of what is not."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
BEFORE = "95790bf891e76fee5e1747ab589903a6a1f80f22"
ZERO = "0" * 40


def repository(name: str = "octo-org/octo-repo") -> dict[str, Any]:
    owner, _, short = name.partition("/")
    return {
        "id": 186853002,
        "name": short,
        "full_name": name,
        "private": False,
        "owner": {"login": owner, "id": 21031067, "type": "User"},
        "default_branch": "main",
    }


def push(
    name: str = "octo-org/octo-repo", *, ref: str = "refs/heads/main", after: str = SHA, deleted: bool = False
) -> dict[str, Any]:
    head = {
        "id": after,
        "message": "Fix all the bugs",
        "timestamp": "2026-11-25T12:00:00+01:00",
        "author": {"name": "Monalisa Octocat", "email": "mona@github.example"},
    }
    return {
        "ref": ref,
        "before": BEFORE,
        "after": ZERO if deleted else after,
        "repository": repository(name),
        "pusher": {"name": "Codertocat"},
        "created": False,
        "deleted": deleted,
        "forced": False,
        "commits": [] if deleted else [head],
        "head_commit": None if deleted else head,
    }


def pull_request(
    name: str = "octo-org/octo-repo",
    *,
    action: str = "opened",
    number: int = 2,
    ref: str = "changes",
    sha: str = SHA,
    source: str | None = "octo-org/octo-repo",
    updated_at: str = "2026-11-25T12:00:00Z",
) -> dict[str, Any]:
    """`source` is the repository that the branch lies in; None for a fork that was deleted."""
    return {
        "action": action,
        "number": number,
        "pull_request": {
            "id": 279147437,
            "number": number,
            "state": "closed" if action == "closed" else "open",
            "title": "Update the README with new information.",
            "merged": action == "closed",
            "updated_at": updated_at,
            "head": {
                "label": f"octo-org:{ref}",
                "ref": ref,
                "sha": sha,
                "repo": source and repository(source),
            },
            "base": {"label": "octo-org:main", "ref": "main", "sha": BEFORE, "repo": repository(name)},
        },
        "repository": repository(name),
    }


def ping(name: str = "octo-org/octo-repo") -> dict[str, Any]:
    hook = {"type": "Repository", "id": 109948940, "name": "web", "active": True, "events": ["push"]}
    return {"zen": "Anything added dilutes everything else.", "hook": hook, "repository": repository(name)}


def signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def as_form(payload: Mapping[str, Any]) -> bytes:
    return urlencode({"payload": json.dumps(payload)}).encode()
