"""Rows as the API shows them: the read path of the handlers, and the only place that knows the objects' fields.

Called on the loop's thread (any thread may). Reads what is durable, never waits for an actor. Every method returns
plain dicts and lists that encode to JSON as they are; an object that does not exist is `NotFound`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from platformd import clock
from platformd.domain.deployment.state import Deployment, Phase
from platformd.domain.naming import Addresses
from platformd.domain.notice import Filter, reason_data
from platformd.domain.snapshot import App, Artifact
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task import Task, TaskPhase
from platformd.errors import NotFound
from platformd.shown import column_timestamp, commit_object, number, timestamp, timestamp_or_none, wall_clock
from platformd.store import SORT_ORDERS, SORTS, Page, Store, events
from platformd.store.lists import page_of, versions_below

__all__ = ["SORTS", "SORT_ORDERS", "Load", "Page", "Usage", "Views", "spec_object", "timestamp"]

Json = dict[str, Any]
T = TypeVar("T", App, Artifact, Deployment, Task)

_API = "/api/v1"
_NOUNS: Mapping[type, str] = {App: "app", Artifact: "artifact", Deployment: "deployment", Task: "task"}
_BECOMING = frozenset({Phase.PULLING, Phase.STARTING, Phase.UPDATING, Phase.WAKING, Phase.BACKING_OFF})


class Usage(NamedTuple):
    """What a task takes now."""

    cpu_percent: float
    memory_bytes: int


class Load(NamedTuple):
    """What the gateway has for a deployment now."""

    inflight: int = 0
    held: int = 0


def _unknown(_id: str) -> None:
    return None


def _never(_id: str) -> bool:
    return False


class Views:
    """`usage` of a task and `load` of a deployment are what is known at the moment, None where nothing is; `stale`
    tells whether what is known of a deployment's tasks is old because its engine is away."""

    def __init__(
        self,
        store: Store,
        addresses: Addresses,
        usage: Callable[[str], Usage | None] = _unknown,
        load: Callable[[str], Load | None] = _unknown,
        stale: Callable[[str], bool] = _never,
        node_id: str = "local",
    ) -> None:
        self._reader = store.reader
        self._addresses = addresses
        self._usage = usage
        self._load = load
        self._stale = stale
        self._node_id = node_id

    # ---- one object ----------------------------------------------------------------------------------------

    def app(self, id: str) -> Json:
        return self.render_app(self._found(App, id))

    def app_by_key(self, namespace: str, name: str) -> Json:
        app = self._reader.app_by_key(namespace, name)
        if app is None:
            raise NotFound(f"there is no app {name!r} in namespace {namespace!r}", code="APP_NOT_FOUND")
        return self.render_app(app)

    def app_by_subdomain(self, subdomain: str) -> Json:
        app = next(self._reader.all(App, "WHERE subdomain = ?", subdomain), None)
        if app is None:
            raise NotFound(f"there is no app with the subdomain {subdomain!r}", code="APP_NOT_FOUND")
        return self.render_app(app)

    def deployment(self, id: str) -> Json:
        return self.render_deployment(self._found(Deployment, id))

    def task(self, id: str) -> Json:
        return self.render_task(self._found(Task, id))

    def artifact(self, id: str) -> Json:
        return self.render_artifact(self._found(Artifact, id))

    # ---- lists ---------------------------------------------------------------------------------------------

    def apps(self, page: Page, namespace: str | None = None, id: str | None = None) -> Json:
        return self._page(App, page, self.render_app, {"namespace": namespace, "id": id})

    def deployments(self, page: Page, app_id: str | None = None) -> Json:
        return self._page(Deployment, page, self.render_deployment, {"app_id": app_id})

    def tasks(
        self,
        page: Page,
        deployment_id: str | None = None,
        state: str | None = None,
        app_id: str | None = None,
    ) -> Json:
        wanted = {"deployment_id": deployment_id, "state": state, "app_id": app_id}
        return self._page(Task, page, self.render_task, wanted)

    def artifacts(self, page: Page) -> Json:
        return self._page(Artifact, page, self.render_artifact, {})

    def deployments_of_app(self, app_id: str, page_size: int = 20, page_token: int | None = None) -> Json:
        """The source document's cursor list: newest version first; `page_token` is the last version shown."""
        self._found(App, app_id)
        records, last = versions_below(self._reader, app_id, page_token, page_size)
        return {
            "deployments": [self.render_deployment(record) for record in records],
            "next_page_token": None if last is None else str(last),
        }

    # ---- events; these read many rows, so they are called on threads -------------------------------------------

    def events_after(self, filter: Filter, id: int, limit: int) -> tuple[list[tuple[int, bytes]], int]:
        """(id, JSON) of the first `limit` events above `id`, oldest first; and the id up to which there is nothing
        else."""
        found, upto = events.after(self._reader, filter, id, limit)
        return [(event.id, _event_json(event)) for event in found], upto

    def newest_events(self, filter: Filter, limit: int) -> list[tuple[int, bytes]]:
        """(id, JSON) of the last `limit` events, oldest first."""
        return [(event.id, _event_json(event)) for event in events.newest(self._reader, filter, limit)]

    def last_event_id(self) -> int:
        """0 when nothing has ever happened."""
        return events.last_id(self._reader)

    def oldest_event_after_gap(self, id: int) -> int | None:
        """The oldest event's id (0: there is none) when one above `id` is not kept any more; else None."""
        return events.oldest_after_gap(self._reader, id)

    def last_event_lost(self) -> int:
        """The highest id that is not kept any more; 0 when everything is."""
        return events.forgotten(self._reader)

    def _page(
        self, kind: type[T], page: Page, render: Callable[[T], Json], filters: Mapping[str, object]
    ) -> Json:
        records, total = page_of(self._reader, kind, page, filters)
        return {
            "data": [render(record) for record in records],
            "total": total,
            "page": page.page,
            "page_size": page.page_size,
        }

    def _found(self, kind: type[T], id: str) -> T:
        record = self._reader.get(kind, id)
        if record is None:
            noun = _NOUNS[kind]
            raise NotFound(f"there is no {noun} {id}", code=f"{noun.upper()}_NOT_FOUND")
        return record

    # ---- rendering -----------------------------------------------------------------------------------------

    def render_app(self, app: App) -> Json:
        return {
            "id": app.id,
            "name": app.name,
            "namespace": app.namespace,
            "subdomain": app.subdomain,
            "description": app.description,
            "labels": app.labels,
            "default_deployment_spec": app.default_deployment_spec,
            "created_at": timestamp(app.created_at),
            "updated_at": timestamp(app.updated_at),
            "revision": app.revision,
        }

    def render_artifact(self, artifact: Artifact) -> Json:
        return {
            "id": artifact.id,
            "name": artifact.name,
            "content_type": artifact.content_type,
            "size": artifact.size,
            "sha256": artifact.sha256,
            "created_at": timestamp(artifact.created_at),
            "uploaded_at": timestamp_or_none(artifact.uploaded_at),
        }

    def render_deployment(self, deployment: Deployment) -> Json:
        identity = deployment.identity
        path = f"{_API}/deployments/{identity.id}"
        return {
            "id": identity.id,
            "sha": identity.sha,
            "app_id": identity.app_id,
            "version": identity.version,
            "status": deployment.status.value,
            "phase": deployment.phase.value,
            "reason": reason_data(deployment.reason),
            "spec": spec_object(deployment.spec),
            "tasks_ready": deployment.tasks_ready,
            "tasks_total": deployment.tasks_total,
            "progress": deployment.progress,
            "environment_slug": identity.environment,
            "preview_url": self._addresses.url(identity.preview_host),
            "current": deployment.current,
            "superseded_by": deployment.superseded_by,
            "idle_deadline": wall_clock(deployment.idle_deadline),
            "awake_because": self._awake_because(deployment),
            "keep_awake_until": wall_clock(deployment.lease_until) if _leased(deployment) else None,
            "stale": self._stale(identity.id),
            "image_digest": deployment.image_digest,
            "commit": commit_object(deployment.commit),
            "build_id": deployment.build_id,
            "generation": deployment.generation,
            "observed_generation": deployment.observed_generation,
            "created_at": timestamp(identity.created_at),
            "updated_at": timestamp(deployment.updated_at),
            "revision": deployment.revision,
            "links": {
                "self": path,
                "app": f"{_API}/apps/{identity.app_id}",
                "tasks": f"{path}/tasks",
                "logs": f"{path}/logs",
                "logs_stream": f"{path}/logs/stream",
            },
        }

    def render_task(self, task: Task) -> Json:
        usage = self._usage(task.id)
        end = task.exit
        return {
            "id": task.id,
            "deployment_id": task.deployment_id,
            "app_id": task.app_id,
            "node_id": self._node_id,
            "state": task.phase.shown.value,
            "frozen": task.phase is TaskPhase.FROZEN,
            "stale": self._stale(task.deployment_id),
            "slot": task.slot,
            "generation": task.generation,
            "published_port": task.address[1] if task.address else None,
            "address": f"{task.address[0]}:{task.address[1]}" if task.address else None,
            "pid": task.pid,
            "container_id": task.container_id,
            "exit_code": end.code if end else None,
            "signal": end.signal if end else None,
            "oom_killed": end.oom_killed if end else False,
            "reason": reason_data(task.reason),
            "restarts": task.restarts,
            "started_at": timestamp_or_none(task.started_at),
            "ready_at": timestamp_or_none(task.ready_at),
            "ended_at": timestamp_or_none(task.ended_at),
            "cpu_percent": usage.cpu_percent if usage else None,
            "memory_bytes": usage.memory_bytes if usage else None,
            "created_at": timestamp(task.created_at),
            "updated_at": timestamp(task.updated_at),
            "revision": task.revision,
        }

    def _awake_because(self, deployment: Deployment) -> list[str]:
        """What keeps it from sleeping; empty when it sleeps or is done."""
        if deployment.phase in (Phase.ASLEEP, Phase.DONE, Phase.WAITING_FOR_BUILD):
            return []
        load = self._load(deployment.id) or Load()
        reasons = {
            "starting": deployment.phase in _BECOMING,
            "draining": deployment.phase is Phase.DRAINING,
            "requests_in_flight": load.inflight > 0,
            "requests_held": load.held > 0,
            "recent_traffic": deployment.idle_deadline is not None,
            "keep_awake_lease": _leased(deployment),
            f"keep_awake_{deployment.busy}": deployment.busy is not None,
            "cold_start_disabled": not deployment.spec.cold_start_enabled,
            "no_address": not deployment.spec.serves,
        }
        return [name for name, holds in reasons.items() if holds]


def spec_object(spec: DeploymentSpec) -> Json:
    """The whole specification in force, in the API's words: a body with it makes the same deployment."""
    return {
        "process_type": spec.process_type.value,
        "artifact_id": spec.artifact_id,
        "image": spec.image,
        "command": list(spec.command) if spec.command is not None else None,
        "args": list(spec.args),
        "user": spec.user,
        "replicas": spec.replicas,
        "resources": {
            "cpu": spec.resources.cpu,
            "memory": spec.resources.memory,
            "cpu_policy": spec.resources.cpu_policy.value,
        },
        "networking": _networking(spec),
        "env": dict(spec.env),
        "volumes": [
            {"host_path": volume.host_path, "container_path": volume.container_path}
            for volume in spec.volumes
        ],
        "cold_start_enabled": spec.cold_start_enabled,
        "idle_timeout_secs": number(spec.idle_timeout_secs),
        "max_runtime_secs": number(spec.max_runtime_secs),
        "progress_deadline_secs": number(spec.progress_deadline_secs),
        "restart": {
            "policy": spec.restart.policy.value,
            "max_attempts": spec.restart.max_attempts,
            "window_secs": number(spec.restart.window_secs),
        },
        "wake": {
            "timeout_secs": number(spec.wake.timeout_secs),
            "queue_limit": spec.wake.queue_limit,
            "concurrency": spec.wake.concurrency,
            "replicas": spec.wake.replicas,
        },
        "autoscale": _autoscale(spec),
        "keep_awake": _keep_awake(spec),
        "no_wake": [_without_none(path=rule.path, user_agent=rule.user_agent) for rule in spec.no_wake],
        "sleep": {"mode": spec.sleep_mode.value},
        "stop": {
            "signal": spec.stop.signal,
            "grace_secs": number(spec.stop.grace_secs),
            "exclusive": spec.stop.exclusive,
        },
    }


def _networking(spec: DeploymentSpec) -> Json:
    networking = spec.networking
    check = {
        "path": networking.health_path,
        "interval": f"{number(networking.health_interval_secs)}s",
        "timeout": f"{number(networking.health_timeout_secs)}s",
    }
    return {
        "port": networking.port,
        "protocol": networking.protocol.value,
        "health_path": networking.health_path,
        "health_check": check if networking.health_path is not None else None,
    }


def _autoscale(spec: DeploymentSpec) -> Json | None:
    rule = spec.autoscale
    if rule is None:
        return None
    return {"min": rule.min, "max": rule.max, "target_concurrency": number(rule.target_concurrency)}


def _keep_awake(spec: DeploymentSpec) -> Json | None:
    rule = spec.keep_awake
    return None if rule is None else {"cpu_percent": number(rule.cpu_percent), "busy_path": rule.busy_path}


def _leased(deployment: Deployment) -> bool:
    return deployment.lease_until is not None and deployment.lease_until > clock.steady()


def _without_none(**values: object) -> Json:
    return {name: value for name, value in values.items() if value is not None}


class _Event(msgspec.Struct):
    id: int
    at: str
    type: str
    app_id: str
    deployment_id: str | None
    task_id: str | None
    build_id: str | None
    revision: int | None
    data: msgspec.Raw


def _event_json(event: events.StoredEvent) -> bytes:
    at = column_timestamp(event.at)
    return msgspec.json.encode(_Event(event.id, at, *event[2:8], msgspec.Raw(event.data.encode())))
