"""Deployments: create, look at, scale, promote, cancel, wake, put to sleep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UnsetType

from handlers import answers, schemas
from handlers.base import Handler
from handlers.operation import Method, Scope, operation
from handlers.paging import page_of
from handlers.schemas_changes import DeploymentChange
from handlers.schemas_traffic import Lease
from handlers.specs import change, invalid, new_deployment
from handlers.volumes import VolumeRule
from platformd.domain import commands
from platformd.domain.deployment.state import Deployment
from platformd.domain.spec import DeploymentSpec, ProcessType
from platformd.domain.variables import Precedence
from platformd.errors import Fault, NotFound


def _order(summary: str, status: int) -> Callable[[Method], Method]:
    """The declaration of a `plain_order`."""
    return operation(
        summary,
        Scope.DEPLOY,
        body=schemas.Nothing,
        optional_body=True,
        answers={status: answers.Deployment},
        problems=("404 DEPLOYMENT_NOT_FOUND", "409 INVALID_STATE", "412 REVISION_MISMATCH"),
    )


class DeploymentHandler(Handler):
    """What the handlers of deployments share."""

    async def create(
        self,
        app_id: str,
        environment: str,
        spec: DeploymentSpec,
        precedence: Precedence = Precedence.DEPLOYMENT,
        promoted_from: str | None = None,
    ) -> Deployment:
        """The app's next version; durable, and its actor told."""
        self._require_executable(spec)
        return await self.durable(
            self.writes.create_deployment(
                app_id=app_id,
                environment=environment,
                spec=spec,
                precedence=precedence,
                promoted_from=promoted_from,
            )
        )

    def show(self, deployment_id: str) -> dict[str, Any]:
        return self.read(self.context.views.deployment, deployment_id)

    def snapshot(self, deployment_id: str) -> Deployment:
        found = self.read(self.context.deployment, deployment_id)
        if found is None:
            raise NotFound(f"there is no deployment {deployment_id}", code="DEPLOYMENT_NOT_FOUND")
        return found

    async def order(self, deployment_id: str, command: commands.DeploymentCommand, status: int = 200) -> None:
        """Asks the deployment's actor and answers with what it made of it; with what there is when it did so before."""
        present = self.show(deployment_id)  # one that does not exist has no actor
        if self.acted_before:
            self.answer(present, status)
            return
        revision, key = self.if_match(), self.request_key
        guarded = command if revision is None else commands.IfRevision(command, revision)
        order = guarded if key is None else commands.ForRequest(guarded, key)
        changed = await self.ask("deployment", deployment_id, order)
        self.answer(self.read(self.context.views.render_deployment, changed), status)

    async def plain_order(
        self, deployment_id: str, command: commands.DeploymentCommand, status: int = 202
    ) -> None:
        """An order that says all by its name."""
        self.no_query()
        self.no_body()
        await self.order(deployment_id, command, status)

    def volume_rule(self) -> VolumeRule:
        settings = self.context.settings
        return VolumeRule.of(settings.data_dir, settings.volume_root)

    def _require_executable(self, spec: DeploymentSpec) -> None:
        """422 for bytes that no kernel starts; what is unknown or has no bytes yet the store refuses itself."""
        if spec.process_type is not ProcessType.TISH or spec.artifact_id is None:
            return
        try:
            artifact = self.read(self.context.views.artifact, spec.artifact_id)
        except NotFound:
            return
        if artifact["sha256"] is not None and self.context.artifacts.kind(artifact["sha256"]) == "unknown":
            fault = Fault(
                "/artifact_id", "is no native executable: its bytes begin neither as ELF nor with #!"
            )
            raise invalid([fault])


class DeploymentsOfAppHandler(DeploymentHandler):
    """`/apps/:id/deployments`."""

    @operation(
        "List an app's deployments",
        Scope.READ,
        query=schemas.CursorQuery,
        answers={200: answers.Deployments},
        problems=("404 APP_NOT_FOUND",),
    )
    def get(self, app_id: str) -> None:
        query = self.query(schemas.CursorQuery)
        token = None if isinstance(query.page_token, UnsetType) else query.page_token
        page = self.read(
            self.context.views.deployments_of_app, app_id, page_size=query.page_size, page_token=token
        )
        self.answer(page)

    @operation(
        "Create a deployment",
        Scope.DEPLOY,
        body=schemas.NewDeployment,
        answers={201: answers.Deployment},
        problems=(
            "404 APP_NOT_FOUND",
            "409 ARTIFACT_INCOMPLETE",
            "409 HOSTNAME_TAKEN",
        ),
    )
    async def post(self, app_id: str) -> None:
        self.no_query()
        app = self.read(self.context.views.app, app_id)
        rule = self.volume_rule()
        environment, spec = new_deployment(self.json_body(), rule, app["default_deployment_spec"])
        made = await self.create(app_id, environment, spec)
        self.answer(
            self.read(self.context.views.render_deployment, made),
            201,
            location=f"/api/v1/deployments/{made.id}",
        )


class DeploymentsHandler(DeploymentHandler):
    """`/deployments`."""

    BOUND_CALLERS = True

    @operation(
        "List deployments",
        Scope.READ,
        query=schemas.DeploymentsQuery,
        answers={200: answers.Page[answers.Deployment]},
    )
    def get(self) -> None:
        query = self.query(schemas.DeploymentsQuery)
        app_id = self.caller.app_id if isinstance(query.app_id, UnsetType) else query.app_id.lower()
        if app_id is not None:
            self.admit_app(app_id)
        self.answer(self.read(self.context.views.deployments, page_of(query), app_id=app_id))


class OneDeploymentHandler(DeploymentHandler):
    """`/deployments/:id`."""

    @operation(
        "Get a deployment",
        Scope.READ,
        query=schemas.WaitQuery,
        answers={200: answers.Deployment},
        problems=("404 DEPLOYMENT_NOT_FOUND",),
    )
    async def get(self, deployment_id: str) -> None:
        views = self.context.views
        self.answer(await self.long_poll("deployment", deployment_id, views.deployment))

    @operation(
        "Scale or change a deployment",
        Scope.DEPLOY,
        body=DeploymentChange,
        answers={200: answers.Deployment},
        problems=("404 DEPLOYMENT_NOT_FOUND", "409 INVALID_STATE"),
    )
    async def patch(self, deployment_id: str) -> None:
        self.no_query()
        deployment = self.snapshot(deployment_id)
        said = self.body(DeploymentChange).spec
        deployment.refuse_if_finished("changed")
        await self.order(deployment_id, change(said, deployment.spec, self.volume_rule()))


class CancelHandler(DeploymentHandler):
    """`/deployments/:id/cancel`."""

    @_order("Cancel a deployment", 200)
    async def post(self, deployment_id: str) -> None:
        await self.plain_order(deployment_id, commands.Cancel(), 200)


class WakeHandler(DeploymentHandler):
    """`/deployments/:id/wake`."""

    @_order("Wake a deployment", 202)
    async def post(self, deployment_id: str) -> None:
        await self.plain_order(deployment_id, commands.Wake())


class SleepHandler(DeploymentHandler):
    """`/deployments/:id/sleep`."""

    @_order("Put a deployment to sleep", 202)
    async def post(self, deployment_id: str) -> None:
        await self.plain_order(deployment_id, commands.Sleep())


class RestartHandler(DeploymentHandler):
    """`/deployments/:id/restart`."""

    @_order("Restart a deployment, one task at a time", 202)
    async def post(self, deployment_id: str) -> None:
        await self.plain_order(deployment_id, commands.Restart())


class KeepAwakeHandler(DeploymentHandler):
    """`/deployments/:id/keep-awake`."""

    @operation(
        "Keep a deployment awake for a while",
        Scope.DEPLOY,
        body=Lease,
        answers={200: answers.Deployment},
        problems=(
            "404 DEPLOYMENT_NOT_FOUND",
            "409 INVALID_STATE",
            "412 REVISION_MISMATCH",
            "503 BACKING_OFF",
        ),
    )
    async def post(self, deployment_id: str) -> None:
        self.no_query()
        await self.order(deployment_id, commands.KeepAwake(self.body(Lease).for_secs))
