"""What answers look like: the one description that documents are made from and that tests hold every answer against.

The JSON itself is made by `platformd.views`. Nothing here runs while serving. Pure.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

from handlers.words import Id

T = TypeVar("T")

Instant = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        description="RFC 3339, UTC, milliseconds",
        examples=["2026-01-31T12:00:00.000Z"],
    ),
]


class Answer(Struct, forbid_unknown_fields=True, kw_only=True):
    """What every answer has in common: it has these fields and no others."""


class Page(Answer, Generic[T]):
    """One page of an offset list."""

    data: list[T]
    total: int
    page: int
    page_size: int


class Reason(Answer):
    """Why something failed, waits or backs off."""

    code: str
    message: str
    exit_code: int | UnsetType = UNSET
    signal: str | UnsetType = UNSET
    last_lines: list[str] | UnsetType = UNSET


class Problem(Answer):
    """An error, by RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Meta(pattern="^[A-Z][A-Z0-9_]+$")]
    request_id: str
    errors: list[ProblemFault] | UnsetType = UNSET
    build_id: Id | UnsetType = UNSET
    last_lines: list[str] | UnsetType = UNSET


class ProblemFault(Answer):
    """One thing wrong with the input, by JSON pointer."""

    pointer: str
    message: str


# ---- apps, artifacts ---------------------------------------------------------------------------------------


class App(Answer):
    id: Id
    name: str
    namespace: str
    subdomain: str
    description: str | None
    labels: dict[str, str]
    default_deployment_spec: dict[str, Any]
    created_at: Instant
    updated_at: Instant
    revision: int


class Artifact(Answer):
    id: Id
    name: str
    content_type: str
    size: int | None
    sha256: str | None
    created_at: Instant
    uploaded_at: Instant | None


class Uploaded(Answer):
    size: int
    sha256: str


# ---- deployments -------------------------------------------------------------------------------------------


class Resources(Answer):
    cpu: str
    memory: str
    cpu_policy: Literal["cap", "share"]


class HealthCheck(Answer):
    path: str | None
    interval: str
    timeout: str


class Networking(Answer):
    port: int | None
    protocol: Literal["http", "http+fd", "none"]
    health_path: str | None
    health_check: HealthCheck | None


class Volume(Answer):
    host_path: str
    container_path: str


class Restart(Answer):
    policy: Literal["always", "on-failure", "never"]
    max_attempts: int
    window_secs: float


class Wake(Answer):
    timeout_secs: float
    queue_limit: int
    concurrency: int
    replicas: int | None


class Sleep(Answer):
    mode: Literal["stop", "freeze", "auto"]


class Stop(Answer):
    signal: str
    grace_secs: float
    exclusive: bool


class Autoscale(Answer):
    min: int
    max: int
    target_concurrency: float


class KeepAwake(Answer):
    cpu_percent: float | None
    busy_path: str | None


class NoWake(Answer):
    path: str | UnsetType = UNSET
    user_agent: str | UnsetType = UNSET


class Spec(Answer):
    """The whole specification in force: a body with it makes the same deployment."""

    process_type: Literal["tish", "docker"]
    artifact_id: Id | None
    image: str | None
    command: list[str] | None
    args: list[str]
    user: str | None
    replicas: int
    resources: Resources
    networking: Networking
    env: dict[str, str]
    volumes: list[Volume]
    cold_start_enabled: bool
    idle_timeout_secs: float
    max_runtime_secs: float | None
    progress_deadline_secs: float
    restart: Restart
    wake: Wake
    sleep: Sleep
    stop: Stop
    no_wake: list[NoWake]
    autoscale: Autoscale | None
    keep_awake: KeepAwake | None


class DeploymentLinks(Answer):
    self_: str = field(name="self")
    app: str
    tasks: str
    logs: str
    logs_stream: str


class Commit(Answer):
    """What it was built from."""

    sha: str
    author: str
    message: str


class Deployment(Answer):
    id: Id
    sha: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
    app_id: Id
    version: int
    status: Literal["pending", "running", "succeeded", "failed", "cancelled"]
    phase: Literal[
        "waiting_for_build",
        "pulling",
        "starting",
        "ready",
        "updating",
        "asleep",
        "waking",
        "draining",
        "backing_off",
        "quarantined",
        "done",
    ]
    reason: Reason | None
    spec: Spec
    tasks_ready: int
    tasks_total: int
    progress: Annotated[int, Meta(ge=0, le=100)]
    environment_slug: str
    preview_url: str
    current: bool
    superseded_by: Id | None
    idle_deadline: Instant | None
    awake_because: list[str]
    keep_awake_until: Instant | None
    stale: bool
    image_digest: str | None
    commit: Commit | None
    build_id: Id | None
    generation: int
    observed_generation: int
    created_at: Instant
    updated_at: Instant
    revision: int
    links: DeploymentLinks


class Deployments(Answer):
    """Newest version first; `next_page_token` is null on the last page."""

    deployments: list[Deployment]
    next_page_token: str | None


class Promoted(Answer):
    deployment_id: Id
    message: str


# ---- tasks, log entries ------------------------------------------------------------------------------------


class Task(Answer):
    id: Id
    deployment_id: Id
    app_id: Id
    node_id: str
    state: Literal["pending", "starting", "running", "stopping", "stopped", "failed"]
    frozen: bool
    stale: bool
    slot: int
    generation: int
    published_port: int | None
    address: str | None
    pid: int | None
    container_id: str | None
    exit_code: int | None
    signal: str | None
    oom_killed: bool
    reason: Reason | None
    restarts: int
    started_at: Instant | None
    ready_at: Instant | None
    ended_at: Instant | None
    cpu_percent: float | None
    memory_bytes: int | None
    created_at: Instant
    updated_at: Instant
    revision: int


class LogEntry(Answer):
    """One line of output; `truncated` is how many bytes of it were dropped."""

    id: int
    timestamp: Instant
    deployment_id: Id
    task_id: Id | None
    stream: Literal["stdout", "stderr", "system"]
    message: str
    truncated: int | UnsetType = UNSET


class Event(Answer):
    """Something that happened; `data` is what there is to say about it."""

    id: int
    at: Instant
    type: str
    app_id: str
    deployment_id: str | None
    task_id: str | None
    build_id: str | None
    revision: int | None
    data: dict[str, Any]


# ---- the service -------------------------------------------------------------------------------------------


class Health(Answer):
    status: Literal["ok"]


class Check(Answer):
    status: Literal["ok", "degraded", "unready"]
    detail: str | UnsetType = UNSET


class Readiness(Answer):
    ready: bool
    status: Literal["ok", "degraded", "unready"]
    checks: dict[str, Check]


class Version(Answer):
    version: str
    api: str
