"""Build and deploy from an app's source: `/apps/:id/deploy/trigger`, and what webhooks do alike."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from handlers import answers_builds as answers
from handlers.deployments import DeploymentHandler
from handlers.operation import Scope, operation
from handlers.schemas_builds import Trigger
from handlers.specs import new_deployment
from handlers.volumes import VolumeRule
from platformd import clock
from platformd.config import Settings
from platformd.domain.build.orders import Wanted
from platformd.domain.build.state import Origin
from platformd.domain.source import Source
from platformd.domain.spec import DeploymentSpec
from platformd.errors import Conflict, PlatformError

_MADE = "Deployment created and scheduler notified"


def spec_to_deploy(
    app: dict[str, Any], source: Source, environment: str, settings: Settings
) -> DeploymentSpec:
    """What is deployed of a build of `source`: the app's defaults, with what the build makes still to come. `app` is
    as the API shows it. Invalid when the app's defaults contradict the source."""
    rule = VolumeRule.of(settings.data_dir, settings.volume_root)
    body = {"process_type": source.process_type.value, "environment": environment}
    default = {
        name: value
        for name, value in app["default_deployment_spec"].items()
        if name not in ("artifact_id", "image")
    }
    return new_deployment(body, rule, default)[1]


class TriggerHandler(DeploymentHandler):
    """`/apps/:id/deploy/trigger`."""

    @operation(
        "Build and deploy from the app's source",
        Scope.DEPLOY,
        locked=True,
        body=Trigger,
        optional_body=True,
        answers={201: answers.Triggered},
        problems=(
            "404 APP_NOT_FOUND",
            "409 SOURCE_NOT_CONFIGURED",
            "409 NO_BUILD",
            "409 BUILD_CANCELLED",
            "409 DEPLOY_REFUSED",
            "409 HOSTNAME_TAKEN",
            "422 BUILD_FAILED",
            "504 BUILD_UNFINISHED",
        ),
    )
    async def post(self, app_id: str) -> None:
        """Waits for the build, for up to five minutes. A build that takes longer goes on and is deployed when it
        succeeds; `skip_build` deploys the last good build of the ref, or of the branch."""
        self.no_query()
        app = self.read(self.context.views.app, app_id)
        source = self.read(self.context.built.source_of, app_id)
        body = self.body(Trigger) if self.payload else Trigger()
        spec = spec_to_deploy(app, source, body.environment, self.context.settings)
        if body.skip_build:
            deployment_id = await self._redeploy(app_id, source, body, spec)
        else:
            wanted = Wanted(
                app_id=app_id,
                environment=body.environment,
                origin=Origin.TRIGGER,
                branch=_said(body.branch),
                ref=_said(body.ref),
                spec=spec,
            )
            build = await self.durable(self.builds.request(wanted))
            deployment_id = await self._deployed(build.id)
        shown = self.show(deployment_id)
        answer = {"deployment_id": deployment_id, "status": shown["status"], "message": _MADE}
        self.answer(answer, 201, location=f"/api/v1/deployments/{deployment_id}")

    async def _redeploy(self, app_id: str, source: Source, body: Trigger, spec: DeploymentSpec) -> str:
        ref = _said(body.ref) or _said(body.branch) or source.branch
        build = self.read(self.context.builds.last_good, app_id, ref)
        if build is None or build.recipe.kind is not source.build.kind:
            raise Conflict(f"there is no good build of {ref!r} yet; leave skip_build out", code="NO_BUILD")
        made = await self.durable(
            self.writes.create_deployment(
                app_id=app_id, environment=body.environment, spec=build.filled(spec), build=build
            )
        )
        return made.id

    async def _deployed(self, build_id: str) -> str:
        """The deployment that came of the build; the problem that stands for it when none did."""
        patience = self.context.trigger_secs
        deadline = clock.monotonic() + patience
        while True:
            shown = self.read(self.context.built.build, build_id)
            outcome = _outcome(shown)
            if outcome is not None:
                return outcome
            left = max(deadline - clock.monotonic(), 0)
            changed = self.context.hub.wait_revision("build", build_id, shown["revision"], left)
            if not await self.unless_closed(changed):
                raise PlatformError(
                    f"build {build_id} is not done after {patience:g} s; it goes on, and is deployed when it "
                    f"succeeds: see /api/v1/builds/{build_id}",
                    code="BUILD_UNFINISHED",
                    status=504,
                    more={"build_id": build_id},
                )


def _outcome(build: dict[str, Any]) -> str | None:
    """The id of the deployment, None while there is none yet."""
    state, reason, about = build["state"], build["reason"], {"build_id": build["id"]}
    if build["deployment_id"] is not None:
        return str(build["deployment_id"])
    if state == "failed":
        lines = reason.get("last_lines", [])
        said = "".join(f"\n{line}" for line in lines)
        raise PlatformError(
            f"build {build['id']} failed: {reason['message']}{said}",
            code="BUILD_FAILED",
            status=422,
            more={**about, "last_lines": lines},
        )
    if state == "cancelled":
        message = f"build {build['id']} was cancelled: {reason['message']}"
        raise PlatformError(message, code="BUILD_CANCELLED", status=409, more=about)
    if state == "succeeded" and reason is not None:
        message = f"build {build['id']} succeeded, but nothing is deployed: {reason['message']}"
        raise PlatformError(message, code="DEPLOY_REFUSED", status=409, more=about)
    return None


def _said(value: Any) -> Any:
    return None if value is UNSET else value
