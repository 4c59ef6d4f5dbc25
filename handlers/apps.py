"""Apps: create, list, and get by id or by key."""

from __future__ import annotations

from msgspec import UnsetType

from handlers import answers, schemas
from handlers.base import Handler
from handlers.operation import Scope, operation
from handlers.paging import page_of
from platformd.errors import NotFound

DEFAULT_NAMESPACE = "default"


class AppsHandler(Handler):
    """`/apps`."""

    @operation("List apps", Scope.READ, query=schemas.AppsQuery, answers={200: answers.Page[answers.App]})
    def get(self) -> None:
        query = self.query(schemas.AppsQuery)
        namespace = None if isinstance(query.namespace, UnsetType) else query.namespace
        self.answer(self.read(self.context.views.apps, page_of(query), namespace=namespace))

    @operation(
        "Create an app",
        Scope.DEPLOY,
        body=schemas.NewApp,
        answers={201: answers.App},
        problems=("409 SUBDOMAIN_TAKEN",),
    )
    async def post(self) -> None:
        self.no_query()
        body = self.body(schemas.NewApp)
        app = await self.durable(
            self.context.writes.create_app(
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


class AppByKeyHandler(Handler):
    """`/apps/:namespace/:name`."""

    @operation(
        "Get an app by namespace and name",
        Scope.READ,
        answers={200: answers.App},
        problems=("404 APP_NOT_FOUND",),
    )
    def get(self, namespace: str, name: str) -> None:
        self.no_query()
        self.answer(self.read(self.context.views.app_by_key, namespace, name))


class NoAppHandler(Handler):
    """`/apps/:x` where x is no id: an app's name alone does not say which one."""

    @operation("Tell how to name an app", Scope.READ, answers={}, problems=("404 APP_NOT_FOUND",))
    def get(self, text: str) -> None:
        raise NotFound(
            f"there is no app {text[:80]!r}; name it by its id or as namespace/name", code="APP_NOT_FOUND"
        )
