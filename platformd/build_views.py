"""Sources and builds as the API shows them. Called on the loop's thread (any thread may). Reads what is durable.

Secrets are never shown, not even sealed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platformd.domain.build.state import Build
from platformd.domain.notice import reason_data
from platformd.domain.snapshot import App
from platformd.domain.source import SECRETS, Source
from platformd.domain.variables import MASK
from platformd.errors import NotFound
from platformd.shown import commit_object, timestamp, timestamp_or_none
from platformd.store import Page, building
from platformd.store.lists import page_of
from platformd.store.reader import Reader

Json = dict[str, Any]
_API = "/api/v1"


class BuildViews:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def source_of(self, app_id: str) -> Source:
        """The source of an app that exists; Conflict SOURCE_NOT_CONFIGURED without one."""
        source = building.source_of(self._reader, app_id)
        if source is None:
            raise building.source_missing(app_id)
        return source

    def source(self, app_id: str) -> Json:
        if self._reader.get(App, app_id) is None:
            raise NotFound(f"there is no app {app_id}", code="APP_NOT_FOUND")
        source = building.source_of(self._reader, app_id)
        if source is None:
            raise NotFound(f"app {app_id} has no source", code="SOURCE_NOT_FOUND")
        return self.render_source(source)

    def render_source(self, source: Source) -> Json:
        recipe = source.build
        return {
            "app_id": source.app_id,
            "type": "github",
            "repository": source.repository,
            "branch": source.branch,
            "root_dir": recipe.root_dir,
            "build": {
                "kind": recipe.kind.value,
                "command": recipe.command,
                "artifact_path": recipe.artifact_path,
                "dockerfile": recipe.dockerfile,
            },
            "process_type": source.process_type.value,
            "environment": source.environment,
            "auto_deploy": source.auto_deploy,
            "previews": source.previews,
            **{name: None if getattr(source, name) is None else MASK for name in SECRETS},
            "created_at": timestamp(source.created_at),
            "updated_at": timestamp(source.updated_at),
            "revision": source.revision,
        }

    def build(self, id: str) -> Json:
        build = self._reader.get(Build, id)
        if build is None:
            raise NotFound(f"there is no build {id}", code="BUILD_NOT_FOUND")
        return self.render_build(build)

    def builds(self, page: Page, filters: Mapping[str, object]) -> Json:
        records, total = page_of(self._reader, Build, page, filters)
        return {
            "data": [self.render_build(record) for record in records],
            "total": total,
            "page": page.page,
            "page_size": page.page_size,
        }

    def render_build(self, build: Build) -> Json:
        path = f"{_API}/builds/{build.id}"
        return {
            "id": build.id,
            "app_id": build.app_id,
            "environment_slug": build.environment,
            "origin": build.origin.value,
            "state": build.state.value,
            "phase": build.phase.value,
            "reason": reason_data(build.reason),
            "repository": build.repository if build.upload is None else None,
            "branch": build.branch,
            "ref": build.ref,
            "upload": build.upload,
            "commit": commit_object(build.commit),
            "artifact_id": build.artifact_id,
            "image": build.image,
            "image_digest": build.image_digest,
            "deployment_id": build.deployment_id,
            "superseded_by": build.superseded_by,
            "attempt": build.attempt,
            "created_at": timestamp(build.created_at),
            "started_at": timestamp_or_none(build.started_at),
            "ended_at": timestamp_or_none(build.ended_at),
            "updated_at": timestamp(build.updated_at),
            "revision": build.revision,
            "links": {
                "self": path,
                "app": f"{_API}/apps/{build.app_id}",
                "logs": f"{path}/logs",
                "logs_stream": f"{path}/logs/stream",
            },
        }
