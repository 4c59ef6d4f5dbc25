"""What Prometheus is told beside what the rooms count themselves: how things are now, and what events say.

`heard` is called after each commit on the writer's thread; `exposition` when somebody asks for it, on any thread but
the loop's: it reads rows. Nothing here is on the way of a request or a wake.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from actors.directory import Directory
from actors.runtime import PoolRuntime
from actors.traffic import GatewayTraffic
from platformd import metrics
from platformd.domain.deployment.state import Phase
from platformd.domain.notice import Event
from platformd.gateway import protocol
from platformd.store import Store

# Series of single deployments: the first so many that were called. All of them are in the totals.
MOST_SERIES = 1000
_STATES = ("pending", "starting", "running", "stopping")
_NAMES = """
SELECT d.id, a.namespace || '/' || a.name, d.environment, d.version FROM deployments d JOIN apps a ON a.id = d.app_id
WHERE d.id IN (SELECT value FROM json_each(?))
"""


def heard(events: Sequence[Event]) -> None:
    """Count what has happened."""
    for event in events:
        notice = event.notice
        metrics.EVENTS.labels(notice.kind).inc()
        match notice.type:
            case "wake.ready" | "wake.failed":
                metrics.WAKES.labels(notice.type.removeprefix("wake.")).inc()
                if notice.type == "wake.ready":
                    metrics.WAKE_SECONDS.observe(float(str(notice.data["duration_ms"])) / 1000)
            case "task.starting":
                metrics.TASK_STARTS.inc()
            case "task.exited":
                metrics.count_exit(notice.data)


class Measures(Collector):
    """`readiness` is what `/readyz` shows; called on the thread of whoever asks."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        runtime: PoolRuntime,
        traffic: GatewayTraffic,
        readiness: Callable[[], Mapping[str, Any]],
        version: str,
    ) -> None:
        self._store = store
        self._directory = directory
        self._runtime = runtime
        self._traffic = traffic
        self._readiness = readiness
        self._version = version

    def exposition(self) -> bytes:
        """Everything there is, as text for Prometheus."""
        return metrics.exposition(self)

    def collect(self) -> Iterator[Metric]:
        yield from self._of_the_service()
        yield from self._of_rows()
        yield from self._of_actors()
        yield from self._of_traffic()
        yield from self._of_deployments()

    def _of_the_service(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "platformd_build_info", "Always 1; says which release runs.", labels=["version"]
        )
        info.add_metric([self._version], 1)
        yield info
        state = self._readiness()
        yield GaugeMetricFamily(
            "platformd_ready", "1 while /readyz answers 200.", value=float(state["ready"])
        )
        healthy = {name: check["status"] == "ok" for name, check in state["checks"].items()}
        healthy["store"] = healthy.get("store", False) and self._store.accepts_writes
        help = "1 while a part of the service is well, by component."
        yield _gauge("platformd_component_healthy", help, "component", healthy)

    def _of_rows(self) -> Iterator[Metric]:
        """By indexes alone: what sleeps or is done is counted, and not looked at."""
        read = self._store.reader.rows
        awake = dict(read("SELECT phase, count(*) FROM deployments WHERE awake = 1 GROUP BY phase"))
        by_status = dict(read("SELECT status, count(*) FROM deployments GROUP BY status"))
        unfinished = by_status.get("pending", 0) + by_status.get("running", 0)
        phases: dict[str, float] = dict.fromkeys((phase.value for phase in Phase), 0.0)
        phases |= awake
        phases[Phase.ASLEEP.value] = max(0, unfinished - sum(awake.values()))
        phases[Phase.DONE.value] = sum(by_status.values()) - unfinished
        yield _gauge("platformd_deployments", "Deployments that are stored, by phase.", "phase", phases)
        live = dict(read("SELECT state, count(*) FROM tasks WHERE live = 1 GROUP BY state"))
        states = dict.fromkeys(_STATES, 0.0) | live
        yield _gauge("platformd_tasks", "Tasks that have not ended, by state.", "state", states)

    def _of_actors(self) -> Iterator[Metric]:
        kinds = self._directory.backlog()
        yield _gauge(
            "platformd_actors",
            "Live actors, by kind.",
            "kind",
            {kind: now.actors for kind, now in kinds.items()},
        )
        yield _gauge(
            "platformd_actors_quarantined",
            "Actors in quarantine, by kind.",
            "kind",
            {kind: now.quarantined for kind, now in kinds.items()},
        )
        queued = GaugeMetricFamily(
            "platformd_actor_mailbox_messages",
            "Messages that wait for actors, by kind and lane.",
            labels=["kind", "lane"],
        )
        for kind, now in kinds.items():
            queued.add_metric([kind, "facts"], now.facts)
            queued.add_metric([kind, "commands"], now.commands)
        yield queued
        runtime = self._runtime
        yield GaugeMetricFamily("platformd_actor_threads", "Threads that run actors.", value=runtime.threads)
        yield CounterMetricFamily(
            "platformd_actor_long_turns", "Turns of actors that took over a second.", value=runtime.long_turns
        )

    def _of_traffic(self) -> Iterator[Metric]:
        totals = self._traffic.totals
        yield GaugeMetricFamily(
            "platformd_gateway_held_requests", "Requests that wait for a task.", value=totals.held
        )
        yield GaugeMetricFamily(
            "platformd_gateway_inflight_requests", "Requests that a task has.", value=totals.inflight
        )
        answered = CounterMetricFamily(
            "platformd_gateway_requests",
            "Requests to deployments, by class of status; 499 are clients that left.",
            labels=["code"],
        )
        for code in metrics.CLASSES:
            answered.add_metric([code], totals.requests.get(code, 0))
        yield answered
        bounds = [*map(str, protocol.WAITS), "+Inf"]
        yield HistogramMetricFamily(
            "platformd_gateway_queue_duration_seconds",
            "How long requests were held before a task got them.",
            buckets=[*zip(bounds, accumulate(totals.waits), strict=True)],
            sum_value=totals.waited,
        )

    def _of_deployments(self) -> Iterator[Metric]:
        """Of those that are not finished and have been called; what is gone is gone here, too."""
        loads = dict(islice(self._traffic.loads.copy().items(), MOST_SERIES))
        info = GaugeMetricFamily(
            "platformd_deployment_info",
            "Always 1; says what a deployment_id stands for.",
            labels=["deployment_id", "app", "environment", "version"],
        )
        for id, app, environment, version in self._store.reader.rows(_NAMES, json.dumps([*loads])):
            info.add_metric([id, app, environment, str(version)], 1)
        yield info
        answered = CounterMetricFamily(
            "platformd_deployment_requests",
            "Requests to one deployment, by class of status.",
            labels=["deployment_id", "code"],
        )
        for id, load in loads.items():
            for code in metrics.CLASSES:
                answered.add_metric([id, code], load.requests.get(code, 0))
        yield answered


def _gauge(name: str, help: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
