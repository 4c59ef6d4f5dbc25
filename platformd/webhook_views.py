"""Who may send webhooks, and what they sent, as the API shows it.

Called by handlers on the loop's thread (any thread may). Reads what is durable.
"""

from __future__ import annotations

import json
from typing import Any

from platformd.domain.deliveries import Received
from platformd.domain.notice import reason_data
from platformd.domain.snapshot import App
from platformd.domain.source import Source
from platformd.errors import NotFound
from platformd.shown import timestamp
from platformd.store.building import sources_naming
from platformd.store.lists import Page
from platformd.store.reader import Reader
from platformd.store.webhooks import deliveries_of

Json = dict[str, Any]

_BUILDS = """
SELECT id, state, deployment_id FROM builds WHERE id IN (SELECT value FROM json_each(?))
"""


class WebhookViews:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def senders(self, repository: str) -> list[tuple[App, Source]]:
        """The apps whose source names the repository ("owner/name", in any case) and has a webhook secret."""
        found = [source for source in sources_naming(self._reader, repository) if source.webhook_secret]
        apps = [(self._reader.get(App, source.app_id), source) for source in found]
        return [(app, source) for app, source in apps if app is not None]

    def deliveries(self, app_id: str, page: Page) -> Json:
        """By when they came."""
        if self._reader.get(App, app_id) is None:
            raise NotFound(f"there is no app {app_id}", code="APP_NOT_FOUND")
        found, total = deliveries_of(self._reader, app_id, page)
        return {"data": self.render(found), "total": total, "page": page.page, "page_size": page.page_size}

    def render(self, received: list[Received]) -> list[Json]:
        """With what has become of the builds by now."""
        wanted = json.dumps([delivery.build_id for delivery in received if delivery.build_id])
        builds = {id: (state, made) for id, state, made in self._reader.rows(_BUILDS, wanted)}
        return [_delivery(delivery, *builds.get(delivery.build_id, (None, None))) for delivery in received]


def _delivery(received: Received, build_status: str | None, deployment_id: str | None) -> Json:
    return {
        "id": received.id,
        "app_id": received.app_id,
        "delivery": received.guid,
        "event": received.event,
        "action": received.action,
        "ref": received.ref,
        "commit_sha": received.commit_sha,
        "verdict": received.outcome.value,
        "reason": reason_data(received.reason),
        "environment_slug": received.environment,
        "build_id": received.build_id,
        "build_status": build_status,
        "deployment_id": deployment_id,
        "received_at": timestamp(received.received_at),
    }
