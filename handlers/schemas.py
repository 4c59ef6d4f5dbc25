"""What bodies and queries look like: the one description, which validation enforces and documents are made from.

Fields left out are `UNSET`, so that one can tell "silent" from "said": defaults are `platformd.domain.spec`'s. A rule
that a schema cannot say is a `check` in `Meta.extra`; `says` puts a pattern into words. Pure.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from handlers.schemas_traffic import AutoscaleBody, KeepAwakeBody, NoWakeBody
from handlers.words import (
    LONGEST_WAIT_SECS,
    Argument,
    Body,
    Description,
    EnvName,
    Id,
    Image,
    Labels,
    Moment,
    Name,
    Path,
    Quantity,
    Seconds,
    Slug,
    duration,
    is_cpu,
    is_memory,
)


class Nothing(Body):
    """The body of an action that takes none."""


class NewApp(Body):
    name: Name
    namespace: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    labels: Labels | UnsetType = UNSET


class NewArtifact(Body):
    name: Annotated[
        str,
        Meta(
            min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", extra={"says": "text on one line"}
        ),
    ]
    content_type: (
        Annotated[
            str,
            Meta(
                max_length=200,
                pattern=r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:; ?[A-Za-z0-9_-]+=[A-Za-z0-9_.-]+)*$",
                extra={"says": "a media type such as application/octet-stream"},
            ),
        ]
        | UnsetType
    ) = UNSET


class ResourcesBody(Body):
    cpu: Annotated[Quantity | int | float, Meta(extra={"check": is_cpu})] | UnsetType = UNSET
    memory: Annotated[Quantity | int, Meta(extra={"check": is_memory})] | UnsetType = UNSET
    cpu_policy: Literal["cap", "share"] | UnsetType = UNSET


class HealthCheckBody(Body):
    path: Path | UnsetType = UNSET
    interval: (
        Annotated[
            Annotated[str, Meta(max_length=20)] | int | float, Meta(extra={"check": duration(0.1, 3600)})
        ]
        | UnsetType
    ) = UNSET
    timeout: (
        Annotated[
            Annotated[str, Meta(max_length=20)] | int | float, Meta(extra={"check": duration(0.01, 3600)})
        ]
        | UnsetType
    ) = UNSET


class NetworkingBody(Body):
    port: Annotated[int, Meta(ge=1, le=65535)] | UnsetType | None = UNSET
    protocol: Literal["http", "http+fd", "none"] | UnsetType = UNSET
    health_path: Path | UnsetType | None = UNSET
    health_check: HealthCheckBody | UnsetType | None = UNSET


class VolumeBody(Body):
    host_path: Path
    container_path: Path


class RestartBody(Body):
    policy: Literal["always", "on-failure", "never"] | UnsetType = UNSET
    max_attempts: Annotated[int, Meta(ge=0, le=1000)] | UnsetType = UNSET
    window_secs: Annotated[float, Meta(ge=1, le=86_400)] | UnsetType = UNSET


class WakeBody(Body):
    timeout_secs: Annotated[float, Meta(ge=0.1, le=3600)] | UnsetType = UNSET
    queue_limit: Annotated[int, Meta(ge=1, le=10_000)] | UnsetType = UNSET
    concurrency: Annotated[int, Meta(ge=0, le=10_000)] | UnsetType = UNSET
    replicas: Annotated[int, Meta(ge=1, le=100)] | UnsetType | None = UNSET


class SleepBody(Body):
    mode: Literal["stop", "freeze", "auto"] | UnsetType = UNSET


class StopBody(Body):
    signal: (
        Literal[
            "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGABRT", "SIGKILL"
        ]
        | UnsetType
    ) = UNSET
    grace_secs: Annotated[float, Meta(ge=0, le=3600)] | UnsetType = UNSET
    exclusive: bool | UnsetType = UNSET


class SpecBody(Body):
    """A specification as a client writes it."""

    process_type: Literal["tish", "docker"] | UnsetType = UNSET
    artifact_id: Id | UnsetType | None = UNSET
    image: Image | UnsetType | None = UNSET
    replicas: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET
    resources: ResourcesBody | UnsetType = UNSET
    networking: NetworkingBody | UnsetType = UNSET
    env: Annotated[dict[EnvName, Argument], Meta(max_length=1000)] | UnsetType = UNSET
    cold_start_enabled: bool | UnsetType = UNSET
    idle_timeout_secs: Seconds | UnsetType = UNSET
    max_runtime_secs: Seconds | UnsetType | None = UNSET
    volumes: Annotated[list[VolumeBody], Meta(max_length=64)] | UnsetType = UNSET
    command: Annotated[list[Argument], Meta(min_length=1, max_length=1000)] | UnsetType | None = UNSET
    args: Annotated[list[Argument], Meta(max_length=1000)] | UnsetType = UNSET
    user: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=200,
                pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?$",
                extra={"says": "a user, or user:group, by name or number"},
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    restart: RestartBody | UnsetType = UNSET
    wake: WakeBody | UnsetType = UNSET
    sleep: SleepBody | UnsetType = UNSET
    autoscale: AutoscaleBody | UnsetType | None = UNSET
    stop: StopBody | UnsetType = UNSET
    no_wake: Annotated[list[NoWakeBody], Meta(max_length=32)] | UnsetType = UNSET
    keep_awake: KeepAwakeBody | UnsetType | None = UNSET
    progress_deadline_secs: Annotated[float, Meta(ge=1, le=86_400)] | UnsetType = UNSET


class NewDeployment(SpecBody):
    environment: Slug | UnsetType = UNSET


# ---- queries ----------------------------------------------------------------------------------------------


class NoQuery(Body):
    """The query of a path that takes none."""


class PageQuery(Body):
    page: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=100)] = 20
    sort_order: Literal["asc", "desc"] | UnsetType = UNSET


class AppsQuery(PageQuery):
    namespace: Annotated[str, Meta(max_length=40)] | UnsetType = UNSET
    sort_by: Literal["name", "namespace", "subdomain", "created_at", "updated_at"] = "created_at"


class ArtifactsQuery(PageQuery):
    sort_by: Literal["name", "size", "created_at"] = "created_at"


class DeploymentsQuery(PageQuery):
    app_id: Id | UnsetType = UNSET
    sort_by: Literal[
        "created_at", "updated_at", "version", "status", "phase", "app_id", "environment", "environment_slug"
    ] = "created_at"


class TasksOfDeploymentQuery(PageQuery):
    state: Literal["pending", "starting", "running", "stopping", "stopped", "failed"] | UnsetType = UNSET
    sort_by: Literal["created_at", "updated_at", "state", "slot", "deployment_id"] = "created_at"


class TasksQuery(TasksOfDeploymentQuery):
    deployment_id: Id | UnsetType = UNSET


class CursorQuery(Body):
    page_size: Annotated[int, Meta(ge=1, le=100)] = 20
    page_token: Annotated[int, Meta(ge=1, le=1 << 53)] | UnsetType = UNSET


class WaitQuery(Body):
    wait: Annotated[str, Meta(max_length=20, extra={"check": duration(0, LONGEST_WAIT_SECS)})] | UnsetType = (
        UNSET
    )
    revision: Annotated[int, Meta(ge=0, le=1 << 53)] | UnsetType = UNSET


class TaskLogsQuery(Body):
    after: Annotated[int, Meta(ge=0, le=1 << 53)] | UnsetType = UNSET
    before: Annotated[int, Meta(ge=1, le=1 << 53)] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000
    tail: Annotated[int, Meta(ge=0, le=1000)] | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET
    stream: Literal["stdout", "stderr", "system"] | UnsetType = UNSET


class LogsQuery(TaskLogsQuery):
    task_id: Id | UnsetType = UNSET


class TaskStreamQuery(Body):
    after: Annotated[int, Meta(ge=0, le=1 << 53)] | UnsetType = UNSET
    tail: Annotated[int, Meta(ge=0, le=1000)] = 100


class StreamQuery(TaskStreamQuery):
    task_id: Id | UnsetType = UNSET
