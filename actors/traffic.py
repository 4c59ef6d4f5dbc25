"""Between the actors and the gateway: routes, targets and closes go out, wakes, idleness and load come in.

Orders are sent from actors' turns on pool threads (the link hands them on without waiting); reports come in on the
loop's thread and become facts for the actors. Knows no policy: it translates.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Literal, TypeVar

import msgspec
import structlog

from actors.deployment import Republish
from actors.directory import Directory
from actors.messages import Key, Lane, ShuttingDown
from platformd import clock
from platformd.domain import commands, events
from platformd.domain.deployment.routing import Refusal, Routing, Target, routing
from platformd.domain.deployment.state import Phase
from platformd.domain.effects import FailHeld
from platformd.domain.task import TaskPhase
from platformd.gateway import protocol
from platformd.store import Store

T = TypeVar("T")
PORTION = 500
_log = structlog.get_logger("traffic")


class Load(msgspec.Struct):
    """Requests of one deployment: now in flight and held, and answered so far by class of status."""

    inflight: int = 0
    held: int = 0
    requests: dict[str, int] = msgspec.field(default_factory=dict)


class GatewayTraffic:
    """`send` takes one message for the gateway, from any thread; it is dropped while there is no gateway. Made on the
    thread of `loop`."""

    def __init__(
        self,
        directory: Directory,
        store: Store,
        send: Callable[[Any], None],
        errors_full: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._directory = directory
        self._store = store
        self._send = send
        self._errors_full = errors_full
        self._loop = loop
        self._thread = threading.get_ident()
        self._epoch = 0
        self.loads: dict[str, Load] = {}
        self.pid: int | None = None

    # ---- to the gateway ----

    def route(self, deployment_id: str, before: Routing | None, after: Routing) -> None:
        """What changed for `deployment_id`; everything when `before` is None."""
        config = _config(after)
        if before is None or _config(before) != config:
            self._send(protocol.Routes(deployments={deployment_id: config}))
        if before is None or before.targets != after.targets:
            self._send(_targets(deployment_id, after.targets))
        told = after.phase is Phase.WAKING or bool(after.targets)  # what the gateway takes for granted
        if before is not None and before.phase is not after.phase and not told:
            self._send(protocol.WakePhase(deployment_id, after.phase.value))

    def fail_held(self, deployment_id: str, failure: FailHeld) -> None:
        reason = failure.reason
        why = f": {reason.message}" if reason and self._errors_full and failure.code == "WAKE_CRASHED" else ""
        self._send(
            protocol.WakeFailed(
                deployment=deployment_id,
                status=failure.status,
                code=failure.code,
                detail=failure.detail + why,
                retry_after=_seconds_until(failure.retry_at),
                phase=failure.phase,
                exit_code=reason.exit_code if reason else None,
                signal=reason.signal if reason else None,
                last_lines=list(reason.last_lines) if reason else None,
            )
        )

    def close_idle(self, deployment_id: str, task_ids: tuple[str, ...], since: datetime) -> None:
        instant = clock.boot_ns_from_steady(since)
        self._send(protocol.Close(deployment_id, list(task_ids), mode="idle", since=instant))

    def close(self, deployment_id: str, task_id: str, drain: timedelta, for_good: bool) -> None:
        mode: Literal["drain", "rest"] = "drain" if for_good else "rest"
        self._send(protocol.Close(deployment_id, [task_id], mode=mode, timeout=drain.total_seconds()))

    def publish_hosts(self, app_id: str | None = None) -> None:
        """The addresses of one app, or of all, as they are when this is sent: always read by the loop's thread, so
        that nothing older overtakes something newer on its way there."""
        if threading.get_ident() == self._thread:
            for hosts in _portions(self._hosts(app_id)):
                self._send(protocol.Routes(hosts=dict(hosts)))
        else:
            self._loop.call_soon_threadsafe(self.publish_hosts, app_id)

    def forget_hosts(self, hostnames: Collection[str]) -> None:
        """They lead nowhere any more, unless somebody took them meanwhile; in turn with `publish_hosts`."""
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.forget_hosts, hostnames)
            return
        gone = [name for name in hostnames if not self._store.is_taken(name)]
        if gone:
            self._send(protocol.Routes(hosts=dict.fromkeys(gone)))

    def forget_deployments(self, ids: Collection[str]) -> None:
        """They are no more."""
        for id in ids:
            self.loads.pop(id, None)
        if ids:
            self._send(protocol.Routes(deployments=dict.fromkeys(ids)))

    # ---- from the gateway ----

    def on_report(self, report: Mapping[str, Any]) -> None:
        """One message of the gateway, on the loop's thread."""
        with contextlib.suppress(ShuttingDown):  # nobody is left to hear of it
            self._take(report)

    def _take(self, report: Mapping[str, Any]) -> None:
        match report["op"]:
            case "wake":
                self._tell(report["deployment"], commands.Wake(by_traffic=True))
            case "quiet":
                self._went_quiet(report["deployment"], report["since"])
            case "closed":
                self._closed(report)
            case "busy":
                self._tell(report["deployment"], events.IdleRefused())
            case "load":
                self._count(report["deployments"])
            case "hello":
                self._welcome(report)

    def _welcome(self, hello: Mapping[str, Any]) -> None:
        """A gateway came, new or after a break: it gets the whole table, and says what it knows of idleness."""
        if hello["pid"] != self.pid:
            self._end_requests()
        self.pid = hello["pid"]
        self._epoch += 1
        self._send(protocol.Reset(self._epoch))
        self._send(protocol.Errors(full=self._errors_full))
        self.publish_hosts()
        self._publish_deployments()
        self._send(protocol.Synced())
        for key in self._directory.keys("deployment"):
            self._directory.tell(key, Republish(), Lane.FACT)
        for deployment_id, since in hello.get("activity", {}).items():
            if since is not None:
                self._went_quiet(deployment_id, since)

    def _end_requests(self) -> None:
        """This gateway is another one: what the last one had in flight was cut with it, and is quiet since."""
        for deployment_id, load in self.loads.items():
            if load.inflight or load.held:
                load.inflight = load.held = 0
                self._tell(deployment_id, events.WentQuiet(clock.steady()))

    def _publish_deployments(self) -> None:
        """All of them: configurations, and who has tasks that may receive requests. A task that is not running by
        its own row, because it ended with the last boot or is just being stopped, may not."""
        running = {task.id for task in self._store.live_tasks() if task.phase is TaskPhase.RUNNING}
        for states in _portions(self._store.deployments()):
            routings = {state.id: routing(state) for state in states}
            self._send(protocol.Routes(deployments={key: _config(now) for key, now in routings.items()}))
            for deployment_id, now in routings.items():
                open_ones = tuple(target for target in now.targets if target.task_id in running)
                if open_ones:
                    self._send(_targets(deployment_id, open_ones))

    def _closed(self, report: Mapping[str, Any]) -> None:
        if report["mode"] == "idle":
            self._tell(report["deployment"], events.IdleClosed())
            return
        for task_id in report["tasks"]:
            self._directory.tell(Key("task", task_id), events.Closed(), Lane.FACT)

    def _went_quiet(self, deployment_id: str, since: int) -> None:
        self._tell(deployment_id, events.WentQuiet(clock.steady_from_boot_ns(since)))

    def _tell(self, deployment_id: str, message: object) -> None:
        self._directory.tell(Key("deployment", deployment_id), message, Lane.FACT)

    def _count(self, deployments: Mapping[str, Mapping[str, Any]]) -> None:
        for deployment_id, seen in deployments.items():
            load = self.loads.setdefault(deployment_id, Load())
            load.inflight, load.held = seen["inflight"], seen["held"]
            for status, count in seen["requests"].items():
                load.requests[status] = load.requests.get(status, 0) + count
            if (demand := seen.get("demand")) is not None:
                self._tell(deployment_id, events.DemandMeasured(*demand))

    def _hosts(self, app_id: str | None) -> Iterator[tuple[str, str | protocol.HostRefusal | None]]:
        for _, routes_of_app in itertools.groupby(self._store.routes(app_id), key=attrgetter("app_id")):
            routes = list(routes_of_app)
            names = [route.hostname for route in routes if route.deployment_id is not None]
            for route in routes:
                yield route.hostname, route.deployment_id or _nobody(names, route.current_version)


def _portions(items: Iterable[T]) -> Iterator[list[T]]:
    """A full table is read, encoded and sent a piece at a time: its peak would stay in the heap."""
    rest = iter(items)
    while portion := list(itertools.islice(rest, PORTION)):
        yield portion


def _nobody(names: Iterable[str], current_version: int | None) -> protocol.HostRefusal:
    """503 where there was a deployment once, 404 where there never was one."""
    return protocol.HostRefusal(status=404 if current_version is None else 503, names=tuple(names))


def _targets(deployment_id: str, targets: Iterable[Target]) -> protocol.Targets:
    specs = (
        protocol.TargetSpec(task=target.task_id, address=(target.host, target.port), slow_start=True)
        for target in targets
    )
    return protocol.Targets(deployment_id, tuple(specs))


def _config(routing: Routing) -> protocol.Config:
    return protocol.Config(
        wakeable=routing.refusal is None,
        refusal=_refusal(routing.refusal),
        wake_timeout=routing.wake_timeout_secs,
        queue_limit=routing.queue_limit,
        concurrency=routing.concurrency,
        no_wake=tuple(
            protocol.NoWake(rule.path or "", (rule.user_agent or "").lower()) for rule in routing.no_wake
        ),
        autoscaled=routing.autoscaled,
    )


def _refusal(refusal: Refusal | None) -> protocol.Refusal | None:
    if refusal is None:
        return None
    return protocol.Refusal(
        status=refusal.status,
        code=refusal.code,
        detail=refusal.detail,
        retry_after=_seconds_until(refusal.retry_at),
    )


def _seconds_until(instant: datetime | None) -> int | None:
    """Whole seconds for Retry-After, at least 1."""
    if instant is None:
        return None
    return max(1, math.ceil((instant - clock.steady()).total_seconds()))
