"""Where an app's code comes from: `/apps/:id/source`."""

from __future__ import annotations

from typing import Any

from msgspec import UnsetType

from handlers import answers_builds as answers
from handlers.base import Handler
from handlers.operation import Scope, operation
from handlers.schemas_builds import RecipeBody, SourceBody
from handlers.specs import invalid
from handlers.validation import collect
from platformd import clock
from platformd.domain.source import (
    SECRETS,
    BuildKind,
    Recipe,
    RemoveSource,
    SetSource,
    Source,
    sealed_for,
)
from platformd.domain.spec import ProcessType
from platformd.domain.variables import MASK
from platformd.errors import Fault, Unsupported

SUPPORTED = "github"
_NEEDED = {BuildKind.COMMAND: ("command", "artifact_path"), BuildKind.DOCKERFILE: ()}


class SourceHandler(Handler):
    """`/apps/:id/source`."""

    @operation(
        "Get an app's source",
        Scope.READ,
        answers={200: answers.Source},
        problems=("404 APP_NOT_FOUND", "404 SOURCE_NOT_FOUND"),
    )
    def get(self, app_id: str) -> None:
        """Secrets are shown as `***`."""
        self.no_query()
        self.admit_app(app_id)
        self.answer(self.read(self.context.built.source, app_id))

    @operation(
        "Set an app's source",
        Scope.DEPLOY,
        body=SourceBody,
        answers={200: answers.Source},
        problems=(
            "404 APP_NOT_FOUND",
            "412 REVISION_MISMATCH",
            "501 SOURCE_TYPE_UNSUPPORTED",
            "503 SECRET_UNREADABLE",
        ),
    )
    async def put(self, app_id: str) -> None:
        """Builds that are queued or run go on by the source they were asked for with."""
        self.no_query()
        self.admit_app(app_id)
        self.read(self.context.views.app, app_id)
        value = self.json_body()
        _refuse_other_types(value)
        body, faults = collect(SourceBody, value)
        if body is None:
            raise invalid([_without_secret(fault) for fault in faults])
        given = {name: getattr(body, name) for name in SECRETS}
        operation = SetSource(
            source=self._source(app_id, body, given),
            kept=frozenset(name for name, text in given.items() if text == MASK),
            revision=self.if_match(),
        )
        made = await self.durable(self.configuration.commit(operation))
        self.answer(self.context.built.render_source(made))

    @operation(
        "Remove an app's source",
        Scope.DEPLOY,
        answers={204: None},
        problems=("404 APP_NOT_FOUND", "404 SOURCE_NOT_FOUND", "412 REVISION_MISMATCH"),
    )
    async def delete(self, app_id: str) -> None:
        self.no_query()
        self.admit_app(app_id)
        self.no_body()
        operation = RemoveSource(app_id=app_id, revision=self.if_match())
        await self.durable(self.configuration.commit(operation))
        self.no_content()

    def _source(self, app_id: str, body: SourceBody, given: dict[str, str | None]) -> Source:
        recipe = _recipe(body.build, body.root_dir)
        wanted = (
            recipe.kind.makes if isinstance(body.process_type, UnsetType) else ProcessType(body.process_type)
        )
        if wanted is not recipe.kind.makes:
            message = f'a {recipe.kind} build is deployed as "{recipe.kind.makes}", not as "{wanted}"'
            raise invalid([Fault("/process_type", message)])
        sealed: dict[str, Any] = {
            name: self.context.vault.seal(text, context=sealed_for(app_id, name))
            for name, text in given.items()
            if text is not None and text != MASK
        }
        at = clock.now()
        return Source(
            app_id=app_id,
            repository=body.repository,
            branch=body.branch,
            build=recipe,
            process_type=wanted,
            environment=body.environment,
            auto_deploy=body.auto_deploy,
            previews=body.previews,
            created_at=at,
            updated_at=at,
            **sealed,
        )


def _recipe(body: RecipeBody, root_dir: str | None) -> Recipe:
    kind = BuildKind(body.kind)
    faults = [
        Fault(f"/build/{name}", f"a {kind} build needs it")
        for name in _NEEDED[kind]
        if getattr(body, name) is None
    ]
    if faults:
        raise invalid(faults)
    return Recipe(
        kind=kind,
        command=body.command,
        artifact_path=body.artifact_path,
        dockerfile=body.dockerfile,
        root_dir=root_dir,
    )


def _refuse_other_types(value: object) -> None:
    """Before anything else in the body is looked at: it may mean other things there."""
    named: Any = value.get("type") if isinstance(value, dict) else None
    if isinstance(named, str) and named != SUPPORTED:
        raise Unsupported(
            f'only "{SUPPORTED}" sources are supported, not {named[:40]!r}', code="SOURCE_TYPE_UNSUPPORTED"
        )


def _without_secret(fault: Fault) -> Fault:
    if fault.pointer.removeprefix("/") not in SECRETS:
        return fault
    return Fault(fault.pointer, fault.message.partition(", not ")[0])
