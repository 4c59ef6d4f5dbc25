"""Tasks: list, look at, stop."""

from __future__ import annotations

from msgspec import UnsetType

from handlers import schemas
from handlers.base import Handler
from handlers.paging import page_of
from platformd.domain import commands
from platformd.domain.task import TaskPhase


class _ListHandler(Handler):
    def show(self, query: schemas.TasksOfDeploymentQuery, deployment_id: str | None) -> None:
        state = None if isinstance(query.state, UnsetType) else query.state
        self.answer(
            self.read(self.context.views.tasks, page_of(query), deployment_id=deployment_id, state=state)
        )


class TasksHandler(_ListHandler):
    """`/tasks`."""

    def get(self) -> None:
        query = self.query(schemas.TasksQuery)
        deployment_id = None if isinstance(query.deployment_id, UnsetType) else query.deployment_id.lower()
        self.show(query, deployment_id)


class TasksOfDeploymentHandler(_ListHandler):
    """`/deployments/:id/tasks`."""

    def get(self, deployment_id: str) -> None:
        query = self.query(schemas.TasksOfDeploymentQuery)
        self.read(self.context.views.deployment, deployment_id)
        self.show(query, deployment_id)


class TaskHandler(Handler):
    """`/tasks/:id`."""

    async def get(self, task_id: str) -> None:
        self.answer(await self.long_poll("task", task_id, self.context.views.task))


class StopHandler(Handler):
    """`/tasks/:id/stop`: 202 while it ends; one that has ended is answered as it is."""

    async def post(self, task_id: str) -> None:
        self.no_query()
        self.no_body()
        task = self.read(self.context.views.task, task_id)
        if TaskPhase(task["state"]).final:
            self.answer(task)
            return
        changed = await self.ask("task", task_id, commands.Terminate())
        self.answer(self.read(self.context.views.render_task, changed), 202)
