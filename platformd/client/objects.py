"""The API's objects as a client sees them: JSON objects with known keys. A server may send more. Pure."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Reason(TypedDict):
    """Why something failed, waits or backs off."""

    code: str
    message: str
    exit_code: NotRequired[int]
    signal: NotRequired[str]
    last_lines: NotRequired[list[str]]


class App(TypedDict):
    id: str
    name: str
    namespace: str
    subdomain: str
    description: str | None
    labels: dict[str, str]
    default_deployment_spec: dict[str, Any]
    created_at: str
    updated_at: str
    revision: int


class Artifact(TypedDict):
    """`sha256` and `size` (bytes) are None until its bytes are there."""

    id: str
    name: str
    content_type: str
    size: int | None
    sha256: str | None
    created_at: str
    uploaded_at: str | None


class Deployment(TypedDict):
    id: str
    sha: str
    app_id: str
    version: int
    status: str
    phase: str
    reason: Reason | None
    spec: dict[str, Any]
    tasks_ready: int
    tasks_total: int
    progress: int
    environment_slug: str
    preview_url: str
    current: bool
    superseded_by: str | None
    idle_deadline: str | None
    awake_because: list[str]
    keep_awake_until: str | None
    stale: bool
    commit: Commit | None
    build_id: str | None
    generation: int
    observed_generation: int
    created_at: str
    updated_at: str
    revision: int
    links: dict[str, str]


class Task(TypedDict):
    id: str
    deployment_id: str
    app_id: str
    node_id: str
    state: str
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
    started_at: str | None
    ready_at: str | None
    ended_at: str | None
    cpu_percent: float | None
    memory_bytes: int | None
    created_at: str
    updated_at: str
    revision: int


class LogEntry(TypedDict):
    """`id` rises within a deployment; `truncated` is how many bytes of the line were dropped."""

    id: int
    timestamp: str
    deployment_id: str
    task_id: str
    stream: str
    message: str
    truncated: NotRequired[int]


class Commit(TypedDict):
    sha: str
    author: str
    message: str


class Source(TypedDict):
    """Secrets that are set are `***`."""

    app_id: str
    type: str
    repository: str
    branch: str
    root_dir: str | None
    build: dict[str, Any]
    process_type: str
    environment: str
    auto_deploy: bool
    previews: bool
    webhook_secret: str | None
    access_token: str | None
    ssh_key: str | None
    created_at: str
    updated_at: str
    revision: int


class Build(TypedDict):
    id: str
    app_id: str
    environment_slug: str
    origin: str
    state: str
    phase: str
    reason: Reason | None
    repository: str | None
    branch: str | None
    ref: str | None
    upload: str | None
    commit: Commit | None
    artifact_id: str | None
    image: str | None
    image_digest: str | None
    deployment_id: str | None
    superseded_by: str | None
    attempt: int
    created_at: str
    started_at: str | None
    ended_at: str | None
    updated_at: str
    revision: int
    links: dict[str, str]


class BuildLogEntry(TypedDict):
    """`id` rises within a build; `truncated` is how many bytes of the line were dropped."""

    id: int
    timestamp: str
    build_id: str
    stream: str
    message: str
    truncated: NotRequired[int]


class Event(TypedDict):
    """Something that happened; `id` rises in the order in which it did, `data` is what there is to say about it."""

    id: int
    at: str
    type: str
    app_id: str
    deployment_id: str | None
    task_id: str | None
    build_id: str | None
    revision: int | None
    data: dict[str, Any]


class Mailbox(TypedDict):
    """How many messages wait."""

    facts: int
    commands: int


class Failure(TypedDict):
    """The last time an actor raised."""

    at: str
    error: str
    message: str | None


class Actor(TypedDict):
    """`key` names it in orders, `parent` is the key of a task's deployment."""

    key: str
    kind: str
    id: str
    parent: str | None
    state: str
    quarantined: bool
    mailbox: Mailbox
    restarts: int
    last_failure: Failure | None
    parked_since: str | None
    about: dict[str, Any]


class DeadLetter(TypedDict):
    """A message that no actor handled: `message` is its type, `content` its fields."""

    number: int
    key: str
    message: str
    content: Any
    reason: str
    error: str
    traceback: str
    at: str


class Environment(TypedDict):
    """Webhooks wait while it is held."""

    app_id: str
    slug: str
    url: str | None
    urls: list[str]
    current_deployment: str | None
    deployments: int
    held_since: str | None
    created_at: str


class Domain(TypedDict):
    id: str
    app_id: str
    domain: str
    environment: str
    url: str
    created_at: str


class Token(TypedDict):
    """`prefix` is how its secret begins; `token`, the secret, is there once, when it is made."""

    id: str
    name: str
    scope: str
    prefix: str
    app_id: str | None
    created_at: str
    last_used_at: str | None
    revoked_at: str | None
    revision: int
    token: NotRequired[str]
