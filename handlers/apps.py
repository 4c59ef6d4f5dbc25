"""Apps: create, list, and get by id or by key."""

from __future__ import annotations

from msgspec import UnsetType

from handlers import answers, schemas
from handlers.answers_configuration import Removing
from handlers.base import Handler
from handlers.operation import Scope, operation
from handlers.paging import page_of
from handlers.schemas_configuration import AppChange
from handlers.specs import app_change
from handlers.volumes import VolumeRule
from platformd import clock
from platformd.domain.configuration import UpdateApp
from platformd.errors import NotFound

DEFAULT_NAMESPACE = "default"


class AppsHandler(Handler):
    """`/apps`."""

    BOUND_CALLERS = True

    @operation("List apps", Scope.READ, query=schemas.AppsQuery, answers={200: answers.Page[answers.App]})
    def get(self) -> None:
        query = self.query(schemas.AppsQuery)
        namespace = None if isinstance(query.namespace, UnsetType) else query.namespace
        self.answer(self.read(self.context.views.apps, page_of(query), namespace, self.caller.app_id))

    @operation(
        "Create an app",
        Scope.DEPLOY,
        body=schemas.NewApp,
        answers={201: answers.App},
        problems=("409 SUBDOMAIN_TAKEN",),
    )
    async def post(self) -> None:
        self.no_query()
        self.admit_app(None)
        body = self.body(schemas.NewApp)
        app = await self.durable(
            self.writes.create_app(
                name=body.name,
                namespace=DEFAULT_NAMESPACE if isinstance(body.namespace, UnsetType) else body.namespace,
                description=None if isinstance(body.description, UnsetType) else body.description,
                labels={} if isinstance(body.labels, UnsetType) else body.labels,
            )
        )
        shown = self.read(self.context.views.render_app, app)
        self.answer(shown, 201, location=f"/api/v1/apps/{app.id}")


class AppHandler(Handler):
    """`/apps/:id`."""

    @operation("Get an app", Scope.READ, answers={200: answers.App}, problems=("404 APP_NOT_FOUND",))
    def get(self, app_id: str) -> None:
        self.no_query()
        self.answer(self.read(self.context.views.app, app_id))

    @operation(
        "Change an app",
        Scope.DEPLOY,
        body=AppChange,
        answers={200: answers.App},
        problems=("404 APP_NOT_FOUND",),
    )
    async def put(self, app_id: str) -> None:
        """What is left out stays. New deployments inherit `default_deployment_spec` where their body is silent."""
        self.no_query()
        self.admit_app(app_id)
        self.read(self.context.views.app, app_id)
        settings = self.context.settings
        changes = app_change(self.json_body(), VolumeRule.of(settings.data_dir, settings.volume_root))
        operation = UpdateApp(app_id=app_id, changes=changes, at=clock.now(), revision=self.if_match())
        updated = await self.durable(self.context.configuration.commit(operation))
        self.answer(self.read(self.context.views.render_app, updated))

    @operation(
        "Delete an app",
        Scope.DEPLOY,
        answers={202: Removing, 204: None},
        problems=("404 APP_NOT_FOUND",),
    )
    async def delete(self, app_id: str) -> None:
        """Its deployments are cancelled and drained; their output, addresses and variables go with it. 202 when that
        takes longer than five seconds; it then goes on."""
        self.no_query()
        self.admit_app(app_id)
        self.no_body()
        self.read(self.context.views.app, app_id)
        if await self.durable(self.context.removals.remove(app_id, clock.now(), self.if_match())):
            self.no_content()
        else:
            self.answer({"id": app_id, "message": "The app is being deleted"}, 202)


class AppByKeyHandler(Handler):
    """`/apps/:namespace/:name`."""

    BOUND_CALLERS = True

    @operation(
        "Get an app by namespace and name",
        Scope.READ,
        answers={200: answers.App},
        problems=("404 APP_NOT_FOUND",),
    )
    def get(self, namespace: str, name: str) -> None:
        self.no_query()
        app = self.read(self.context.views.app_by_key, namespace, name)
        self.admit_app(app["id"])
        self.answer(app)


class AppBySubdomainHandler(Handler):
    """`/apps/by-subdomain/:subdomain`."""

    BOUND_CALLERS = True

    @operation(
        "Get an app by subdomain",
        Scope.READ,
        answers={200: answers.App},
        problems=("404 APP_NOT_FOUND",),
    )
    def get(self, subdomain: str) -> None:
        self.no_query()
        app = self.read(self.context.views.app_by_subdomain, subdomain.lower())
        self.admit_app(app["id"])
        self.answer(app)


class NoAppHandler(Handler):
    """`/apps/:x` where x is no id: an app's name alone does not say which one."""

    @operation("Tell how to name an app", Scope.READ, answers={}, problems=("404 APP_NOT_FOUND",))
    def get(self, text: str) -> None:
        raise NotFound(
            f"there is no app {text[:80]!r}; name it by its id or as namespace/name", code="APP_NOT_FOUND"
        )
