"""What serve told the gateway: hosts, deployments, the tasks that are open. And how one is chosen.

`Table` is changed by `control` only and read by `server` for every request. Gateway loop thread only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from platformd import clock
from platformd.gateway.protocol import Config, HostRefusal, Refusal, Routes, Targets, TargetSpec

if TYPE_CHECKING:
    from platformd.gateway.answers import Problem
    from platformd.gateway.server import Client
    from platformd.gateway.upstream import Upstream

UNLIMITED = 1 << 30
FIRST_WINDOW = 4
FULL_WINDOW = 256
# A task that was closed for good is refused for so many seconds after it was last listed.
DRAINED_FOR = 30.0
_DEFAULT = Config()
_NONE: Mapping[str, float] = {}
_REMOVED = Config(
    wakeable=False, refusal=Refusal(503, "NO_DEPLOYMENT", "The deployment this address led to is gone.")
)

# Places in Deployment.counts.
KINDS = ("", "1xx", "2xx", "3xx", "4xx", "5xx", "499")
LEFT = 6


class Task:
    """One task that may receive requests.

    `limit` is the number of requests it may have now: the slow-start window or the deployment's concurrency,
    whichever is less. `blocked` means that it refuses connections or its listen queue is full: only pooled
    connections are used. `streams` are those of `inflight` that nobody waits for (WebSockets, event streams).
    """

    __slots__ = (
        "address",
        "blocked",
        "deployment",
        "id",
        "idle",
        "inflight",
        "limit",
        "open",
        "streams",
        "window",
    )

    def __init__(self, deployment: Deployment, spec: TargetSpec) -> None:
        self.deployment = deployment
        self.id = spec.task
        self.address = spec.address
        self.open = True
        self.blocked = False
        self.inflight = 0
        self.streams = 0
        self.idle: list[Upstream] = []
        self.window = FIRST_WINDOW if spec.slow_start else UNLIMITED
        self.limit = self.window
        self.limit_anew()

    def limit_anew(self) -> None:
        """Take the deployment's present concurrency into account."""
        self.limit = min(self.window, self.deployment.config.concurrency or UNLIMITED)

    def widen(self) -> None:
        """An answer came: one more request at once, until slow start is over."""
        self.window = self.window + 1 if self.window < FULL_WINDOW else UNLIMITED
        self.limit_anew()

    def free(self) -> bool:
        """True when it may be given one more request."""
        return self.inflight < self.limit and (not self.blocked or bool(self.idle))


class Deployment:
    """One deployment as the gateway sees it. Most are asleep, so it is small until used.

    `inflight` counts all requests that have a task, `passive` those of them that are no activity (`no_wake`).
    `last_active` is when its last activity ended (boot ns, 0 = never here); `failure` why the last wake came to
    nothing, until the next; `counts` what happened since the last report; `leaving` are tasks out of balance whose
    requests have not all ended; `drained` are those closed for good, and when: serve, which hears of it a moment later,
    may still list them.
    """

    __slots__ = (
        "config",
        "counts",
        "drained",
        "failure",
        "held",
        "id",
        "inflight",
        "last_active",
        "leaving",
        "passive",
        "phase",
        "refused_since",
        "tasks",
        "turn",
        "wake_sent",
        "wake_took",
    )

    def __init__(self, id: str, config: Config = _DEFAULT) -> None:
        self.id = id
        self.config = config
        self.tasks: tuple[Task, ...] = ()
        self.leaving: tuple[Task, ...] = ()
        self.turn = 0
        self.held: OrderedDict[Client, None] | None = None
        self.inflight = self.passive = 0
        self.last_active = 0
        self.wake_sent = 0.0
        self.wake_took = 0.0
        self.refused_since = 0.0
        self.phase = ""
        self.failure: Problem | None = None
        self.counts: list[int] | None = None
        self.drained: Mapping[str, float] = _NONE

    @property
    def active(self) -> bool:
        """True while something keeps it awake."""
        return self.inflight > self.passive or bool(self.held)

    @property
    def state(self) -> str:
        """Its phase as far as it is known while no task is open."""
        return "waking" if self.wake_sent else self.phase or "asleep"

    def pick(self) -> Task | None:
        """The open task with the fewest requests, equals in turn; None when none may take one now."""
        tasks = self.tasks
        if len(tasks) == 1:
            return tasks[0] if tasks[0].free() else None
        best: Task | None = None
        for offset in range(len(tasks)):
            at = (self.turn + offset) % len(tasks)
            task = tasks[at]
            if task.free() and (best is None or task.inflight < best.inflight):
                best, chosen = task, at
        if best is not None:
            self.turn = chosen + 1
        return best

    def take_out(self, task_ids: set[str]) -> list[Task]:
        """Tasks of these ids leave the balance, if they have not left it already; those still busy are returned."""
        gone = [task for task in self.tasks if task.id in task_ids]
        self.tasks = tuple(task for task in self.tasks if task.id not in task_ids)
        for task in gone:
            shut(task)
        return [task for task in self.leaving if task.id in task_ids]

    def left(self, task: Task) -> None:
        """A request on a task that is out of balance ended."""
        if not task.inflight:
            self.leaving = tuple(other for other in self.leaving if other is not task)


def shut(task: Task) -> None:
    """No new request for it; what is pooled is dropped, what is in flight goes on."""
    task.open = False
    if task.inflight:
        task.deployment.leaving += (task,)
    idle, task.idle = task.idle, []
    for upstream in idle:
        upstream.close()


def reopen(task: Task) -> None:
    """Back in balance before its requests ended; they still count."""
    task.open = True
    task.limit_anew()
    task.deployment.leaving = tuple(other for other in task.deployment.leaving if other is not task)


def _still_refused(drained: Mapping[str, float], specs: Iterable[TargetSpec]) -> Mapping[str, float]:
    """Those still listed, and those that an older word of serve may still list."""
    listed = {spec.task for spec in specs}
    now = clock.monotonic()
    return {
        task: now if task in listed else at
        for task, at in drained.items()
        if task in listed or now - at < DRAINED_FOR
    }


def _open(specs: Iterable[TargetSpec], drained: Mapping[str, float]) -> tuple[TargetSpec, ...]:
    return tuple(spec for spec in specs if spec.task not in drained)


class _Staging:
    """A full table under construction."""

    def __init__(self) -> None:
        self.hosts: dict[bytes, str | HostRefusal] = {}
        self.configs: dict[str, Config] = {}
        self.targets: dict[str, tuple[TargetSpec, ...]] = {}
        self.drained: dict[str, dict[str, float]] = {}


class Table:
    """The live table, and while serve sends a full one, that one beside it."""

    def __init__(self) -> None:
        self.hosts: dict[bytes, Deployment | HostRefusal] = {}
        self.deployments: dict[str, Deployment] = {}
        self.synced = False
        self.epoch = 0
        self._staging: _Staging | None = None
        self._configs: dict[Config, Config] = {_DEFAULT: _DEFAULT}

    def reset(self, epoch: int) -> None:
        """A full table follows, up to `swap`."""
        self.epoch = epoch
        self._staging = _Staging()

    def abandon(self) -> None:
        """Serve went away; a half-sent table is worth nothing."""
        self._staging = None

    def swap(self) -> list[Deployment]:
        """The new table takes effect at once; returns every deployment that was or is known."""
        new = self._staging or _Staging()
        self._staging, self.synced = None, True
        old = self.deployments
        self.deployments = {id: old.get(id) or Deployment(id) for id in new.configs}
        for id, deployment in self.deployments.items():
            self._configure(deployment, new.configs[id])
            deployment.drained = new.drained.get(id, _NONE)
            self._retarget(deployment, _open(new.targets.get(id, ()), deployment.drained))
        gone = [deployment for id, deployment in old.items() if id not in self.deployments]
        for deployment in gone:
            self._forget(deployment)
        self.hosts = {}
        for host, route in new.hosts.items():
            self._route(host, route)
        return [*self.deployments.values(), *gone]

    def apply(self, routes: Routes) -> list[Deployment]:
        """A change of hosts and deployments; returns the deployments it touched, those that a host left included."""
        if self._staging is not None:
            self._stage(self._staging, routes)
            return []
        touched: list[Deployment] = []
        for id, config in routes.deployments.items():
            deployment = self.deployments.get(id)
            if config is None:
                if deployment is not None:
                    del self.deployments[id]
                    self._forget(deployment)
                    touched.append(deployment)
                continue
            if deployment is None:
                deployment = self.deployments[id] = Deployment(id)
            self._configure(deployment, config)
            touched.append(deployment)
        for host, route in routes.hosts.items():
            name = host.lower().encode()
            before = self.hosts.get(name)
            self._route(name, route)
            if isinstance(before, Deployment) and self.hosts.get(name) is not before:
                touched.append(before)
        return touched

    def retarget(self, targets: Targets) -> Deployment | None:
        """The whole list of a deployment's open tasks; returns it when it is live and known."""
        if self._staging is not None:
            self._staging.targets[targets.deployment] = targets.tasks
            return None
        deployment = self.deployments.get(targets.deployment)
        if deployment is not None:
            if deployment.drained:
                deployment.drained = _still_refused(deployment.drained, targets.tasks)
            self._retarget(deployment, _open(targets.tasks, deployment.drained))
        return deployment

    def drain(self, deployment_id: str, tasks: Iterable[str]) -> None:
        """These are closed for good, also for a table that was read before."""
        closed = dict.fromkeys(tasks, clock.monotonic())
        deployment = self.deployments.get(deployment_id)
        if deployment is not None:
            deployment.drained = {**deployment.drained, **closed}
        if self._staging is not None:
            self._staging.drained.setdefault(deployment_id, {}).update(closed)

    def foresee(self, deployment: Deployment, spec: TargetSpec) -> bool:
        """Open the one task of a deployment that has none yet; False when there is nothing to foresee any more."""
        if self.deployments.get(deployment.id) is not deployment or deployment.tasks:
            return False
        if spec.task in deployment.drained:
            return False
        self._retarget(deployment, (spec,))
        return True

    def _stage(self, staging: _Staging, routes: Routes) -> None:
        for id, config in routes.deployments.items():
            if config is None:
                staging.configs.pop(id, None)
            else:
                staging.configs[id] = config
        for host, route in routes.hosts.items():
            if route is None:
                staging.hosts.pop(host.lower().encode(), None)
            else:
                staging.hosts[host.lower().encode()] = route

    def _configure(self, deployment: Deployment, config: Config) -> None:
        if len(self._configs) > 1000:
            self._configs.clear()
        deployment.config = self._configs.setdefault(config, config)
        for task in deployment.tasks:
            task.limit_anew()

    def _route(self, host: bytes, route: str | HostRefusal | None) -> None:
        found = self.deployments.get(route) if isinstance(route, str) else route
        if found is None:
            self.hosts.pop(host, None)
        else:
            self.hosts[host] = found

    def _retarget(self, deployment: Deployment, specs: tuple[TargetSpec, ...]) -> None:
        known = {(task.id, task.address): task for task in (*deployment.leaving, *deployment.tasks)}
        kept = {
            spec: known.pop((spec.task, spec.address)) for spec in specs if (spec.task, spec.address) in known
        }
        deployment.tasks = tuple(kept.get(spec) or Task(deployment, spec) for spec in specs)
        for task in kept.values():
            if not task.open:
                reopen(task)
        for task in known.values():
            if task.open:
                shut(task)

    def _forget(self, deployment: Deployment) -> None:
        self._retarget(deployment, ())
        deployment.config = _REMOVED
