"""What the answers about use look like; see `handlers.answers`. Pure."""

from __future__ import annotations

from handlers.answers import Answer, Instant
from handlers.words import Id


class Requests(Answer):
    """Of one deployment, at this moment: those a task has, and those that wait for one."""

    in_flight: int
    held: int


class TaskSample(Answer):
    """`cpu_percent` of one core, over the time since the sample before."""

    at: Instant
    cpu_percent: float
    memory_bytes: int


class TaskUsage(Answer):
    """The last hour, oldest first; empty for a task that has not been measured."""

    task_id: Id
    interval_secs: int
    samples: list[TaskSample]


class DeploymentSample(TaskSample):
    """Sums over the tasks that were measured, and the requests in flight then."""

    tasks: int
    requests_in_flight: int


class DeploymentUsage(Answer):
    """The last hour, oldest first; there are no samples of the time asleep."""

    deployment_id: Id
    interval_secs: int
    requests: Requests
    samples: list[DeploymentSample]


class AwakeDeployment(Answer):
    """What its tasks used at the last sample, summed up."""

    deployment_id: Id
    app_id: Id
    tasks: int
    cpu_percent: float
    memory_bytes: int
    requests: Requests


class AwakeUsage(Answer):
    """Every deployment that has tasks."""

    interval_secs: int
    data: list[AwakeDeployment]
