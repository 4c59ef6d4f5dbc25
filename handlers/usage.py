"""What is used: by a task and by a deployment over the last hour, by all that is awake now."""

from __future__ import annotations

from handlers import answers_usage as answers
from handlers.base import Handler
from handlers.operation import Scope, operation


class UsageHandler(Handler):
    """`/usage`."""

    BOUND_CALLERS = True

    @operation("See what is awake and what it uses", Scope.READ, answers={200: answers.AwakeUsage})
    def get(self) -> None:
        """Measured each `interval_secs`; the requests are those of this moment."""
        self.no_query()
        self.answer(self.context.usage.awake(self.caller.app_id))


class DeploymentUsageHandler(Handler):
    """`/deployments/:id/usage`."""

    @operation(
        "See what a deployment used",
        Scope.READ,
        answers={200: answers.DeploymentUsage},
        problems=("404 DEPLOYMENT_NOT_FOUND",),
    )
    def get(self, deployment_id: str) -> None:
        """Over the last hour, in memory only: a restart of the server begins anew."""
        self.no_query()
        self.read(self.context.views.deployment, deployment_id)
        self.answer(self.context.usage.of_deployment(deployment_id))


class TaskUsageHandler(Handler):
    """`/tasks/:id/usage`."""

    @operation(
        "See what a task used", Scope.READ, answers={200: answers.TaskUsage}, problems=("404 TASK_NOT_FOUND",)
    )
    def get(self, task_id: str) -> None:
        """Over the last hour, in memory only: a restart of the server begins anew."""
        self.no_query()
        self.read(self.context.views.task, task_id)
        self.answer(self.context.usage.of_task(task_id))
