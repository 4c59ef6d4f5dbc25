"""Answers about webhooks. See `answers`."""

from __future__ import annotations

from typing import Literal

from handlers.answers import Answer, Instant, Reason
from handlers.words import Id


class WebhookDelivery(Answer):
    """What GitHub sent, as one app sees it. `delivery` is GitHub's id of it; `ref` and `commit_sha` are what was told.
    What was ignored has a reason. `build_status` and `deployment_id` are what has become of a build by now."""

    id: Id
    app_id: Id
    delivery: str
    event: str
    action: str | None
    ref: str | None
    commit_sha: str | None
    verdict: Literal["build", "removing", "removed", "ignored"]
    reason: Reason | None
    environment_slug: str | None
    build_id: Id | None
    build_status: Literal["queued", "running", "succeeded", "failed", "cancelled"] | None
    deployment_id: Id | None
    received_at: Instant


class WebhookAnswer(Answer):
    """One verdict for each app whose secret signed it."""

    delivery: str
    verdicts: list[WebhookDelivery]
