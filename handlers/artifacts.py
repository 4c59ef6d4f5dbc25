"""Artifacts: announce, upload, look at, list."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import UnsetType

from handlers import answers, schemas
from handlers.base import Handler
from handlers.operation import BYTES, Scope, operation
from handlers.paging import page_of
from handlers.uploading import Uploading
from platformd.domain.configuration import DeleteArtifact
from platformd.errors import Conflict, TooLarge

DEFAULT_CONTENT_TYPE = "application/octet-stream"


class ArtifactsHandler(Handler):
    """`/artifacts`."""

    BOUND_CALLERS = True  # who may deploy to an app may bring what is deployed

    @operation(
        "List artifacts",
        Scope.READ,
        query=schemas.ArtifactsQuery,
        answers={200: answers.Page[answers.Artifact]},
    )
    def get(self) -> None:
        self.admit_app(None)
        query = self.query(schemas.ArtifactsQuery)
        self.answer(self.read(self.context.views.artifacts, page_of(query)))

    @operation(
        "Announce an artifact", Scope.DEPLOY, body=schemas.NewArtifact, answers={201: answers.Artifact}
    )
    async def post(self) -> None:
        self.no_query()
        body = self.body(schemas.NewArtifact)
        content_type = DEFAULT_CONTENT_TYPE if isinstance(body.content_type, UnsetType) else body.content_type
        artifact = await self.durable(self.writes.create_artifact(name=body.name, content_type=content_type))
        shown = self.read(self.context.views.render_artifact, artifact)
        self.answer(shown, 201, location=f"/api/v1/artifacts/{artifact.id}")


class ArtifactHandler(Handler):
    """`/artifacts/:id`."""

    BOUND_CALLERS = True

    def initialize(self, *, uploading: set[str], **shared: Any) -> None:  # type: ignore[override]
        super().initialize(**shared)
        self.uploading = uploading

    @operation(
        "Get an artifact", Scope.READ, answers={200: answers.Artifact}, problems=("404 ARTIFACT_NOT_FOUND",)
    )
    def get(self, artifact_id: str) -> None:
        self.no_query()
        self.answer(self.read(self.context.views.artifact, artifact_id))

    @operation(
        "Delete an artifact",
        Scope.DEPLOY,
        answers={204: None},
        problems=("404 ARTIFACT_NOT_FOUND", "409 ARTIFACT_IN_USE", "409 ARTIFACT_UPLOADING"),
    )
    async def delete(self, artifact_id: str) -> None:
        """Refused while a deployment, or a rollback to one, needs it. Its bytes go with the last artifact that has
        them."""
        self.no_query()
        self.admit_app(None)
        self.no_body()
        self.refuse_if_match()
        if artifact_id in self.uploading:
            raise Conflict(
                f"artifact {artifact_id} is being uploaded; wait for its end", code="ARTIFACT_UPLOADING"
            )
        sha256 = await self.durable(self.context.configuration.commit(DeleteArtifact(id=artifact_id)))
        if sha256 is not None and not self.uploading:  # one that is on its way may be of the same bytes
            spare = self.context.artifacts.set_aside(sha256)
            await asyncio.get_running_loop().run_in_executor(None, spare)
        self.no_content()


class UploadHandler(Uploading):
    """`/artifacts/:id/upload`."""

    BOUND_CALLERS = True
    _artifact_id: str | None = None

    def initialize(self, *, uploading: set[str], **shared: Any) -> None:  # type: ignore[override]
        super().initialize(**shared)
        self.uploading = uploading
        self.files, self.longest = self.context.artifacts, self.context.longest_upload

    def expect(self) -> None:
        self.no_query()
        artifact_id = self.path_args[0]
        artifact = self.read(self.context.views.artifact, artifact_id)
        if artifact["sha256"] is not None and self.known is None:
            raise Conflict(
                f"artifact {artifact_id} has its bytes already; create another", code="ARTIFACT_COMPLETE"
            )
        if artifact_id in self.uploading:
            raise Conflict(f"artifact {artifact_id} is being uploaded already", code="ARTIFACT_UPLOADING")
        if self.known is None:
            self.uploading.add(artifact_id)
            self._artifact_id = artifact_id

    def release(self) -> None:
        if self._artifact_id is not None:
            self.uploading.discard(self._artifact_id)
            self._artifact_id = None

    def too_large(self) -> TooLarge:
        return TooLarge(f"an artifact has at most {self.longest} bytes here", code="ARTIFACT_TOO_LARGE")

    @operation(
        "Upload an artifact's bytes",
        Scope.DEPLOY,
        body=BYTES,
        optional_body=True,
        answers={200: answers.Uploaded},
        problems=(
            "404 ARTIFACT_NOT_FOUND",
            "409 ARTIFACT_COMPLETE",
            "409 ARTIFACT_UPLOADING",
            "413 ARTIFACT_TOO_LARGE",
        ),
    )
    async def post(self, artifact_id: str) -> None:
        received = await self.received()
        if received is None:
            return
        sha256, size = received
        await self.durable(self.writes.complete_artifact(artifact_id, sha256=sha256, size=size))
        self.answer({"size": size, "sha256": sha256})
