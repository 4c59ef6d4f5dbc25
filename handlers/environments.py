"""Environments of an app and the variables of both: listed, made, changed, removed."""

from __future__ import annotations

from typing import Any

from handlers import answers_configuration as answers
from handlers import schemas_configuration as schemas
from handlers.base import Handler
from handlers.operation import Scope, operation
from handlers.specs import invalid
from handlers.validation import collect
from platformd import clock
from platformd.domain.configuration import ChangeVariables, CreateEnvironment, DeleteEnvironment
from platformd.domain.variables import MASK, Change, Masked, Variable, sealed_for
from platformd.errors import Fault

_NO_APP = "404 APP_NOT_FOUND"
_NO_ENVIRONMENT = "404 ENVIRONMENT_NOT_FOUND"
_CHANGES = ("404 APP_NOT_FOUND", "503 SECRET_UNREADABLE")


class EnvironmentsHandler(Handler):
    """`/apps/:id/environments`."""

    @operation(
        "List the environments of an app",
        Scope.READ,
        answers={200: answers.Environments},
        problems=(_NO_APP,),
    )
    def get(self, app_id: str) -> None:
        self.no_query()
        self.admit_app(app_id)
        self.answer(self.read(self.context.configured.environments, app_id))

    @operation(
        "Create an environment",
        Scope.DEPLOY,
        body=schemas.NewEnvironment,
        answers={201: answers.Environment},
        problems=(_NO_APP, "409 ENVIRONMENT_EXISTS", "409 HOSTNAME_TAKEN"),
    )
    async def post(self, app_id: str) -> None:
        self.no_query()
        self.admit_app(app_id)
        slug = self.body(schemas.NewEnvironment).slug
        operation = CreateEnvironment(
            app_id=app_id, slug=slug, domain=self.context.settings.domain, at=clock.now()
        )
        await self.durable(self.configuration.commit_hosts(operation, app_id))
        shown = self.read(self.context.configured.environment, app_id, slug)
        self.answer(shown, 201, location=f"/api/v1/apps/{app_id}/environments/{slug}")


class EnvironmentHandler(Handler):
    """`/apps/:id/environments/:slug`."""

    @operation(
        "Get an environment",
        Scope.READ,
        answers={200: answers.Environment},
        problems=(_NO_APP, _NO_ENVIRONMENT),
    )
    def get(self, app_id: str, slug: str) -> None:
        self.no_query()
        self.admit_app(app_id)
        self.answer(self.read(self.context.configured.environment, app_id, slug))

    @operation(
        "Delete an environment",
        Scope.DEPLOY,
        answers={204: None},
        problems=(_NO_APP, _NO_ENVIRONMENT, "409 ENVIRONMENT_IN_USE", "409 ENVIRONMENT_PERMANENT"),
    )
    async def delete(self, app_id: str, slug: str) -> None:
        """Its addresses, custom domains and variables go with it. Refused while a deployment in it is not finished, and
        for the two that each app has."""
        self.no_query()
        self.admit_app(app_id)
        self.no_body()
        self.read(self.context.configured.environment, app_id, slug)
        self.refuse_if_match()
        operation = DeleteEnvironment(app_id=app_id, slug=slug)
        await self.durable(
            self.configuration.commit_hosts(operation, app_id, gone=lambda hostnames: hostnames)
        )
        self.no_content()


class VariablesHandler(Handler):
    """`/apps/:id/env`. Its body has no place for a revision: the `ETag` is it, for `If-Match`, too."""

    _revision: int | None = None

    @operation(
        "Get the variables of an app", Scope.READ, answers={200: answers.Variables}, problems=(_NO_APP,)
    )
    def get(self, app_id: str) -> None:
        self.show(app_id, None)

    @operation(
        "Replace the variables of an app",
        Scope.DEPLOY,
        body=schemas.VariablesBody,
        answers={200: answers.VariablesChanged},
        problems=_CHANGES,
    )
    async def put(self, app_id: str) -> None:
        await self.change(app_id, None, schemas.VariablesBody, keep=False)

    @operation(
        "Change variables of an app",
        Scope.DEPLOY,
        body=schemas.VariablesPatch,
        answers={200: answers.VariablesChanged},
        problems=_CHANGES,
    )
    async def patch(self, app_id: str) -> None:
        """Those left out stay, null removes."""
        await self.change(app_id, None, schemas.VariablesPatch, keep=True)

    def show(self, app_id: str, slug: str | None) -> None:
        self.no_query()
        self.admit_app(app_id)
        variables, self._revision = self.read(self.context.configured.variables, app_id, slug)
        self.answer(variables)

    def compute_etag(self) -> str | None:
        return super().compute_etag() if self._revision is None else f'W/"{self._revision}"'

    async def change(self, app_id: str, slug: str | None, kind: Any, *, keep: bool) -> None:
        self.no_query()
        self.admit_app(app_id)
        self.read(self.context.configured.variables, app_id, slug)
        written, faults = collect(kind, self.json_body())
        if written is None:
            raise invalid([_without_value(fault) for fault in faults])
        operation = ChangeVariables(
            app_id=app_id,
            environment=slug,
            change=self._sealed(app_id, written),
            keep=keep,
            at=clock.now(),
            revision=self.if_match(),
        )
        changed = await self.durable(self.configuration.commit(operation))
        self.answer(self.context.configured.render_change(changed))

    def _sealed(self, app_id: str, written: dict[str, Any]) -> Change:
        return {name: self._variable(app_id, name, value) for name, value in written.items()}

    def _variable(self, app_id: str, name: str, written: Any) -> Variable | Masked | None:
        match written:
            case None:
                return None
            case schemas.VariableBody(value=value, secret=secret):
                if value == MASK:
                    return Masked(secret)
                if secret:
                    return Variable(self.context.vault.seal(value, context=sealed_for(app_id, name)), True)
                return Variable(value)
            case _:
                return Masked(False) if written == MASK else Variable(written)


class EnvironmentVariablesHandler(VariablesHandler):
    """`/apps/:id/environments/:slug/env`."""

    @operation(
        "Get the variables of an environment",
        Scope.READ,
        answers={200: answers.Variables},
        problems=(_NO_APP, _NO_ENVIRONMENT),
    )
    def get(self, app_id: str, slug: str) -> None:  # type: ignore[override]
        self.show(app_id, slug)

    @operation(
        "Replace the variables of an environment",
        Scope.DEPLOY,
        body=schemas.VariablesBody,
        answers={200: answers.VariablesChanged},
        problems=(*_CHANGES, _NO_ENVIRONMENT),
    )
    async def put(self, app_id: str, slug: str) -> None:  # type: ignore[override]
        await self.change(app_id, slug, schemas.VariablesBody, keep=False)

    @operation(
        "Change variables of an environment",
        Scope.DEPLOY,
        body=schemas.VariablesPatch,
        answers={200: answers.VariablesChanged},
        problems=(*_CHANGES, _NO_ENVIRONMENT),
    )
    async def patch(self, app_id: str, slug: str) -> None:  # type: ignore[override]
        """Those left out stay, null removes."""
        await self.change(app_id, slug, schemas.VariablesPatch, keep=True)


def _without_value(fault: Fault) -> Fault:
    """What was sent as a value may be a secret."""
    return Fault(fault.pointer, fault.message.partition(", not ")[0])
