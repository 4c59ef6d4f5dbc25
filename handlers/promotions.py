"""Where an environment's address leads next: promotions, rollbacks and the hold that follows one."""

from __future__ import annotations

from typing import Any

from handlers import answers, answers_changes, schemas
from handlers.base import Handler
from handlers.deployments import DeploymentHandler
from handlers.operation import Scope, operation
from handlers.schemas_changes import Promotion, Rollback
from platformd.domain.deployment.state import Deployment
from platformd.domain.operations import ReleaseHold
from platformd.domain.spec import promoted
from platformd.domain.variables import Precedence
from platformd.errors import InvalidState

_MADE = "Deployment created and scheduler notified"


def _made(deployment: Deployment) -> dict[str, Any]:
    return {"deployment_id": deployment.id, "message": _MADE}


class PromoteHandler(DeploymentHandler):
    """`/deployments/:id/promote`."""

    @operation(
        "Promote a deployment",
        Scope.DEPLOY,
        body=Promotion,
        optional_body=True,
        answers={201: answers.Promoted},
        problems=(
            "404 DEPLOYMENT_NOT_FOUND",
            "409 INVALID_STATE",
            "409 NO_COMMIT",
            "409 SOURCE_NOT_CONFIGURED",
            "409 ARTIFACT_INCOMPLETE",
            "409 HOSTNAME_TAKEN",
        ),
    )
    async def post(self, deployment_id: str) -> None:
        """What an old deployment runs can be promoted into its own environment, too: a rollback by hand."""
        self.no_query()
        source = self.snapshot(deployment_id)
        body = self.body(Promotion) if self.payload else Promotion()
        if body.strategy == "rebuild":
            made = await self.durable(self.builds.rebuild(source, body.environment))
        else:
            made = await self._reuse(source, body.environment)
        self.answer(_made(made), 201, location=f"/api/v1/deployments/{made.id}")

    async def _reuse(self, source: Deployment, environment: str) -> Deployment:
        """The same artifact or image, with the variables of where it goes."""
        if source.spec.artifact_id is None and source.spec.image is None:
            raise InvalidState(f"deployment {source.id} has nothing to promote yet: it waits for its build")
        elsewhere = environment != source.identity.environment
        spec = promoted(source.spec, elsewhere=elsewhere)
        precedence = Precedence.ENVIRONMENT if elsewhere else Precedence.DEPLOYMENT
        made = await self.create(source.identity.app_id, environment, spec, precedence, source.id)
        if spec.networking.port != source.spec.networking.port:
            await self.context.say(
                made.id,
                f"promoted from {source.identity.environment} without its fixed port "
                f"{source.spec.networking.port}: the platform assigns one here",
            )
        return made


class RollbackHandler(Handler):
    """`/apps/:id/rollback`."""

    @operation(
        "Roll back an environment",
        Scope.DEPLOY,
        body=Rollback,
        optional_body=True,
        answers={201: answers.Promoted},
        problems=(
            "404 APP_NOT_FOUND",
            "404 ENVIRONMENT_NOT_FOUND",
            "409 NOTHING_TO_ROLL_BACK_TO",
            "409 ARTIFACT_INCOMPLETE",
        ),
    )
    async def post(self, app_id: str) -> None:
        """Promotes, as a new deployment, the newest that was ready and was not rolled back from; again: one further
        back. Webhooks wait until the environment is released."""
        self.no_query()
        self.read(self.context.views.app, app_id)
        body = self.body(Rollback) if self.payload else Rollback()
        made = await self.durable(self.writes.roll_back(app_id=app_id, environment=body.environment))
        self.answer(_made(made), 201, location=f"/api/v1/deployments/{made.id}")


class ReleaseHandler(Handler):
    """`/apps/:id/environments/:slug/release`."""

    @operation(
        "Let webhooks deploy to an environment again",
        Scope.DEPLOY,
        body=schemas.Nothing,
        optional_body=True,
        answers={200: answers_changes.Released},
        problems=("404 APP_NOT_FOUND", "404 ENVIRONMENT_NOT_FOUND"),
    )
    async def post(self, app_id: str, slug: str) -> None:
        self.no_query()
        self.no_body()
        self.read(self.context.views.app, app_id)
        released = await self.durable(self.configuration.commit(ReleaseHold(app_id=app_id, environment=slug)))
        self.answer({"environment_slug": slug, "released": released})
