"""Between the actors and the gateway: routes, targets and closes go out, wakes, idleness and load come in.

Orders are sent from actors' turns on pool threads (the link hands them on without waiting); reports come in on the
loop's thread and become facts for the actors. Knows no policy: it translates.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

import msgspec
import structlog

from actors import gateway_table
from actors.deployment import Republish
from actors.directory import Directory
from actors.messages import Key, Lane, ShuttingDown
from platformd import clock
from platformd.domain import commands, events
from platformd.domain.deployment.routing import Routing
from platformd.domain.deployment.state import Phase
from platformd.domain.effects import FailHeld
from platformd.drivers.base import LaunchOrder
from platformd.gateway import protocol
from platformd.store import Store

_log = structlog.get_logger("traffic")

_READ_AGAIN_SECS = 1.0


class Load(msgspec.Struct):
    """Requests of one deployment: now in flight and held, and answered so far by class of status."""

    inflight: int = 0
    held: int = 0
    requests: dict[str, int] = msgspec.field(default_factory=dict)


class Totals:
    """Of all deployments: requests now in flight and held, answered so far by class of status, and how long those
    released so far had been held (see `protocol.Load`)."""

    def __init__(self) -> None:
        self.inflight = self.held = 0
        self.requests: dict[str, int] = {}
        self.waits = [0] * (len(protocol.WAITS) + 1)
        self.waited = 0.0

    def add(self, report: Mapping[str, Any]) -> None:
        self.inflight, self.held = report["total_inflight"], report["total_held"]
        for seen in report["deployments"].values():
            _count_up(self.requests, seen["requests"])
        if waits := report.get("waits"):  # a gateway of an earlier release says nothing of them
            self.waits = [known + more for known, more in zip(self.waits, waits, strict=True)]
            self.waited += report["waited"]


class GatewayTraffic:
    """`send` takes one message for the gateway, from any thread; it is dropped while there is no gateway. Made on the
    thread of `loop`. `aside` has long reading done elsewhere, `on_synced` is called once a gateway knows everything."""

    def __init__(
        self,
        directory: Directory,
        store: Store,
        send: Callable[[Any], None],
        errors_full: bool,
        loop: asyncio.AbstractEventLoop,
        aside: Callable[[Callable[[], None]], object] = lambda work: work(),
    ) -> None:
        self._directory = directory
        self._store = store
        self._send = send
        self._errors_full = errors_full
        self._loop = loop
        self._thread = threading.get_ident()
        self._aside = aside
        self._epoch = 0
        self._reading = False
        self._apps_meanwhile: set[str] = set()
        self._gone_meanwhile: set[str] = set()
        self.on_synced: Callable[[], None] = lambda: None
        self.loads: dict[str, Load] = {}
        self.totals = Totals()
        self.pid: int | None = None

    # ---- to the gateway ----

    def route(self, deployment_id: str, before: Routing | None, after: Routing) -> None:
        """What changed for `deployment_id`; everything when `before` is None."""
        if after.phase is Phase.DONE:
            self.loads.pop(deployment_id, None)
        config = gateway_table.config(after)
        if before is None or gateway_table.config(before) != config:
            self._send(protocol.Routes(deployments={deployment_id: config}))
        if before is None or before.targets != after.targets:
            self._send(gateway_table.targets(deployment_id, after.targets))
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
                retry_after=gateway_table.seconds_until(failure.retry_at),
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

    def armed(self, order: LaunchOrder, port: int | None) -> None:
        """What the gateway may fire when traffic comes; nothing any more when `port` is None."""
        plain = order.spec.networking.health_path is None
        self._send(protocol.Armed(order.deployment_id, order.task_id, port, plain))

    def publish_hosts(self, app_id: str) -> None:
        """The addresses of one app as they are when this is sent: always read by the loop's thread, so that nothing
        older overtakes something newer on its way there."""
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.publish_hosts, app_id)
            return
        if self._reading:
            self._apps_meanwhile.add(app_id)
        for order in gateway_table.hosts(self._store, app_id):
            self._send(order)

    def forget_hosts(self, hostnames: Collection[str]) -> None:
        """They lead nowhere any more, unless somebody took them meanwhile; in turn with `publish_hosts`."""
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.forget_hosts, hostnames)
            return
        if self._reading:
            self._gone_meanwhile.update(hostnames)
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
                waited = timedelta(
                    seconds=report.get("waited", 0.0)
                )  # a gateway of an earlier release fires nothing
                self._tell(report["deployment"], commands.Wake(by_traffic=True, waited=waited))
            case "quiet":
                self._went_quiet(report["deployment"], report["since"])
            case "closed":
                self._closed(report)
            case "busy":
                self._tell(report["deployment"], events.IdleRefused())
            case "load":
                self.totals.add(report)
                self._count(report["deployments"])
            case "hello":
                self._welcome(report)

    def _welcome(self, hello: Mapping[str, Any]) -> None:
        """A gateway came, new or after a break: it gets the whole table, and says what it knows of idleness."""
        if hello["pid"] != self.pid:
            self._end_requests()
        self.pid = hello["pid"]
        self._epoch += 1
        self._reading = True
        self._apps_meanwhile.clear()
        self._gone_meanwhile.clear()
        self._send(protocol.Reset(self._epoch))
        self._send(protocol.Errors(full=self._errors_full))
        self._aside(partial(self._read_table, self._epoch, hello.get("activity", {})))

    def _read_table(self, epoch: int, activity: Mapping[str, int | None]) -> None:
        """Aside from the loop: of many deployments it takes a while, and what is under way must not wait for it."""
        try:
            for order in gateway_table.everything(self._store):
                if epoch != self._epoch:
                    return  # yet another gateway came, or the end
                self._on_loop(self._send_table, epoch, order)
        except Exception:
            _log.exception("the gateway's table cannot be read", again_in_secs=_READ_AGAIN_SECS)
            self._on_loop(self._loop.call_later, _READ_AGAIN_SECS, self._read_again, epoch, activity)
            return
        self._on_loop(self._table_read, epoch, activity)

    def _read_again(self, epoch: int, activity: Mapping[str, int | None]) -> None:
        """What was sent of it stays right: orders say how things are, so that saying one twice changes nothing."""
        if epoch == self._epoch:
            self._aside(partial(self._read_table, epoch, activity))

    def _send_table(self, epoch: int, order: protocol.Message) -> None:
        if epoch == self._epoch:
            self._send(order)

    def _table_read(self, epoch: int, activity: Mapping[str, int | None]) -> None:
        """What changed while it was read is said once more: it may have been read before."""
        if epoch != self._epoch:
            return
        self._reading = False
        for app_id in [*self._apps_meanwhile]:
            self.publish_hosts(app_id)
        self.forget_hosts([*self._gone_meanwhile])
        self._send(protocol.Synced())
        self.on_synced()
        with contextlib.suppress(ShuttingDown):
            for key in self._directory.keys("deployment"):
                self._directory.tell(key, Republish(), Lane.FACT)
            for deployment_id, since in activity.items():
                if since is not None:
                    self._went_quiet(deployment_id, since)

    def _on_loop(self, call: Callable[..., object], *arguments: object) -> None:
        if threading.get_ident() == self._thread:
            call(*arguments)
        else:
            self._loop.call_soon_threadsafe(call, *arguments)

    def _end_requests(self) -> None:
        """This gateway is another one: what the last one had in flight was cut with it, and is quiet since."""
        self.totals.inflight = self.totals.held = 0
        for deployment_id, load in [*self.loads.items()]:
            if load.inflight or load.held:
                load.inflight = load.held = 0
                self._tell(deployment_id, events.WentQuiet(clock.steady()))

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
        """The last requests of a deployment may end with it, or after it."""
        unknown = deployments.keys() - self.loads.keys()
        if unknown:
            self.loads.update((id, Load()) for id in self._store.living(unknown))
        for deployment_id, seen in deployments.items():
            load = self.loads.get(deployment_id)
            if load is None:
                continue
            load.inflight, load.held = seen["inflight"], seen["held"]
            _count_up(load.requests, seen["requests"])
            if (demand := seen.get("demand")) is not None:
                self._tell(deployment_id, events.DemandMeasured(*demand))


def _count_up(total: dict[str, int], more: Mapping[str, int]) -> None:
    for kind, count in more.items():
        total[kind] = total.get(kind, 0) + count
