"""Bringing apps, artifacts and deployments into being: row first, then their actor and the gateway hear of it.

Called by handlers on the loop's thread; each answer is durable. What exists already is changed by its actor instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

from actors.directory import Directory
from actors.messages import Key, Lane
from actors.world import Traffic
from platformd import clock
from platformd.domain.deployment.routing import routing
from platformd.domain.deployment.state import Deployment
from platformd.domain.events import Created
from platformd.domain.notice import Notice
from platformd.domain.operations import (
    CompleteArtifact,
    CreateApp,
    CreateArtifact,
    CreateDeployment,
    Operation,
)
from platformd.domain.snapshot import App, Artifact
from platformd.domain.spec import DeploymentSpec
from platformd.store import Store

T = TypeVar("T")


class Creations:
    """`domain` is where addresses are made under."""

    def __init__(self, store: Store, directory: Directory, traffic: Traffic, domain: str) -> None:
        self._store = store
        self._directory = directory
        self._traffic = traffic
        self._domain = domain

    async def create_app(
        self, *, name: str, namespace: str, description: str | None, labels: Mapping[str, str]
    ) -> App:
        operation = CreateApp(
            name=name,
            namespace=namespace,
            description=description,
            labels=labels,
            domain=self._domain,
            at=clock.now(),
        )
        app = await self._commit(operation)
        self._traffic.publish_hosts(app.id)
        return app

    async def create_artifact(self, *, name: str, content_type: str) -> Artifact:
        return await self._commit(CreateArtifact(name=name, content_type=content_type, at=clock.now()))

    async def complete_artifact(self, artifact_id: str, *, sha256: str, size: int) -> Artifact:
        return await self._commit(CompleteArtifact(id=artifact_id, sha256=sha256, size=size, at=clock.now()))

    async def create_deployment(self, *, app_id: str, environment: str, spec: DeploymentSpec) -> Deployment:
        operation = CreateDeployment(
            app_id=app_id,
            environment=environment,
            spec=spec,
            domain=self._domain,
            at=clock.now(),
            steady=clock.steady(),
        )
        created = self._store.commit(operation, lambda deployment: (_created(deployment),))
        deployment = await asyncio.wrap_future(created)
        self._traffic.route(deployment.id, None, routing(deployment))
        self._traffic.publish_hosts(app_id)
        self._directory.tell(Key("deployment", deployment.id), Created(), Lane.FACT)
        return deployment

    async def _commit(self, operation: Operation[T]) -> T:
        return await asyncio.wrap_future(self._store.commit(operation))


def _created(deployment: Deployment) -> Notice:
    return Notice(
        kind="deployment",
        type="deployment.created",
        app_id=deployment.identity.app_id,
        deployment_id=deployment.id,
        task_id=None,
        revision=deployment.revision,
        data={"status": deployment.status.value, "phase": deployment.phase.value},
    )
