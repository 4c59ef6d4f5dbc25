"""Tasks: list, look at, stop."""

from __future__ import annotations

from msgspec import UnsetType

from handlers import answers, schemas
from handlers.base import Handler
from handlers.operation import Scope, operation
from handlers.paging import page_of
from platformd.domain import commands
from platformd.domain.task import TaskPhase


class _ListHandler(Handler):
    def show(self, query: schemas.TasksOfDeploymentQuery, deployment_id: str | None) -> None:
        state = None if isinstance(query.state, UnsetType) else query.state
        self.answer(
            self.read(
                self.context.views.tasks,
                page_of(query),
                deployment_id=deployment_id,
                state=state,
                app_id=self.caller.app_id,
            )
        )


class TasksHandler(_ListHandler):
    """`/tasks`."""

    BOUND_CALLERS = True

    @operation("List tasks", Scope.READ, query=schemas.TasksQuery, answers={200: answers.Page[answers.Task]})
    def get(self) -> None:
        query = self.query(schemas.TasksQuery)
        deployment_id = None if isinstance(query.deployment_id, UnsetType) else query.deployment_id.lower()
        self.show(query, deployment_id)


class TasksOfDeploymentHandler(_ListHandler):
    """`/deployments/:id/tasks`."""

    @operation(
        "List a deployment's tasks",
        Scope.READ,
        query=schemas.TasksOfDeploymentQuery,
        answers={200: answers.Page[answers.Task]},
        problems=("404 DEPLOYMENT_NOT_FOUND",),
    )
    def get(self, deployment_id: str) -> None:
        query = self.query(schemas.TasksOfDeploymentQuery)
        self.read(self.context.views.deployment, deployment_id)
        self.show(query, deployment_id)


class TaskHandler(Handler):
    """`/tasks/:id`."""

    @operation(
        "Get a task",
        Scope.READ,
        query=schemas.WaitQuery,
        answers={200: answers.Task},
        problems=("404 TASK_NOT_FOUND",),
    )
    async def get(self, task_id: str) -> None:
        self.answer(await self.long_poll("task", task_id, self.context.views.task))


class StopHandler(Handler):
    """`/tasks/:id/stop`: 202 while it ends; one that has ended is answered as it is."""

    @operation(
        "Stop a task",
        Scope.DEPLOY,
        body=schemas.Nothing,
        optional_body=True,
        answers={200: answers.Task, 202: answers.Task},
        problems=("404 TASK_NOT_FOUND",),
    )
    async def post(self, task_id: str) -> None:
        self.no_query()
        self.no_body()
        task = self.read(self.context.views.task, task_id)
        if TaskPhase(task["state"]).final:
            self.answer(task)
            return
        changed = await self.ask("task", task_id, commands.Terminate())
        self.answer(self.read(self.context.views.render_task, changed), 202)
