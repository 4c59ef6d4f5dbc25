"""Bringing apps, artifacts and deployments into being: row first, then their actor and the gateway hear of it.

Called by handlers on the loop's thread; each answer is durable. What exists already is changed by its actor instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from actors.commits import Commits
from actors.directory import Directory
from actors.messages import Key, Lane, ShuttingDown
from actors.world import Traffic
from platformd import clock
from platformd.domain.build.state import Build
from platformd.domain.deployment import happenings
from platformd.domain.deployment.routing import routing
from platformd.domain.deployment.state import Deployment
from platformd.domain.events import Created
from platformd.domain.notice import Notice
from platformd.domain.operations import (
    CompleteArtifact,
    CreateApp,
    CreateArtifact,
    CreateDeployment,
    RollBack,
)
from platformd.domain.requests import RequestKey
from platformd.domain.snapshot import App, Artifact
from platformd.domain.spec import DeploymentSpec
from platformd.domain.variables import Precedence


class Creations:
    """`domain` is where addresses are made under."""

    def __init__(self, commits: Commits, directory: Directory, traffic: Traffic, domain: str) -> None:
        self._commits = commits
        self._directory = directory
        self._traffic = traffic
        self._domain = domain

    def under(self, key: RequestKey | None) -> Creations:
        """The same for a request with this key, which makes one thing, once."""
        return Creations(self._commits.under(key), self._directory, self._traffic, self._domain)

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
        return await self._commits(
            operation, _app_created, then=lambda app: self._traffic.publish_hosts(app.id)
        )

    async def create_artifact(self, *, name: str, content_type: str) -> Artifact:
        return await self._commits(CreateArtifact(name=name, content_type=content_type, at=clock.now()))

    async def complete_artifact(self, artifact_id: str, *, sha256: str, size: int) -> Artifact:
        return await self._commits(CompleteArtifact(id=artifact_id, sha256=sha256, size=size, at=clock.now()))

    async def create_deployment(
        self,
        *,
        app_id: str,
        environment: str,
        spec: DeploymentSpec,
        precedence: Precedence = Precedence.DEPLOYMENT,
        promoted_from: str | None = None,
        build: Build | None = None,
    ) -> Deployment:
        operation = CreateDeployment(
            app_id=app_id,
            environment=environment,
            spec=spec,
            domain=self._domain,
            at=clock.now(),
            steady=clock.steady(),
            precedence=precedence,
            promoted_from=promoted_from,
            commit=build.commit if build else None,
            build_id=build.id if build else None,
            digests=build.digests if build else {},
        )
        return await self._commits(operation, happenings.created, then=self._introduce)

    async def roll_back(self, *, app_id: str, environment: str) -> Deployment:
        operation = RollBack(
            app_id=app_id,
            environment=environment,
            domain=self._domain,
            at=clock.now(),
            steady=clock.steady(),
        )
        return await self._commits(operation, happenings.created, then=self._introduce)

    def _introduce(self, deployment: Deployment) -> None:
        introduce(self._directory, self._traffic, deployment)


def introduce(directory: Directory, traffic: Traffic, deployment: Deployment) -> None:
    """A new deployment to the gateway and then to its actor: the gateway drops addresses of those it does not know."""
    traffic.route(deployment.id, None, routing(deployment))
    traffic.publish_hosts(deployment.identity.app_id)
    with contextlib.suppress(ShuttingDown):  # the next start begins it
        directory.tell(Key("deployment", deployment.id), Created(), Lane.FACT)


def _app_created(app: App) -> Notice:
    data = {"name": app.name, "namespace": app.namespace, "subdomain": app.subdomain}
    return Notice(kind="app", type="app.created", app_id=app.id, revision=app.revision, data=data)
