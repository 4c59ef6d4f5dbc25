"""What is counted and timed, as Prometheus reads it: one registry a process, every series there from the start.

Each room counts what it does on any thread; what is looked up only when somebody asks is `actors.measures`'. Names and
units follow Prometheus' conventions; `docs/metrics.md` lists them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A wake takes from one millisecond to its time limit.
_WAKES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COMMITS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_CALLS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "499")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
KINDS = ("app", "artifact", "build", "deployment", "environment", "task", "wake", "webhook")
ACTORS = ("deployment", "task")

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)


def _counter(name: str, help: str, **labels: Sequence[str]) -> Counter:
    """With a series at 0 for every combination of one label's values."""
    counter = Counter(name, help, [*labels], registry=REGISTRY)
    for values in labels.values():
        for value in values:
            counter.labels(value)
    return counter


WAKES = _counter(
    "platformd_wakes", "Wakes of deployments that have ended, by outcome.", outcome=("ready", "failed")
)
WAKE_SECONDS = Histogram(
    "platformd_wake_duration_seconds",
    "From the order to wake a deployment until its first task is ready.",
    buckets=_WAKES,
    registry=REGISTRY,
)
TASK_STARTS = _counter("platformd_task_starts", "Tasks that were started, restarts included.")
TASK_RESTARTS = _counter(
    "platformd_task_restarts", "Ends of tasks that nobody asked for and that are followed by another try."
)
TASK_EXITS = _counter(
    "platformd_task_exits",
    "Tasks that have ended, by cause.",
    cause=("asked", "finished", "failed", "oom_killed"),
)
EVENTS = _counter("platformd_events", "Events that became durable, by the kind of object.", kind=KINDS)

COMMIT_SECONDS = Histogram(
    "platformd_store_commit_duration_seconds",
    "From the begin of a group of writes until it is durable.",
    buckets=_COMMITS,
    registry=REGISTRY,
)
COMMIT_FAILURES = _counter("platformd_store_commit_failures", "Groups of writes that the disk refused.")

ACTOR_FAILURES = _counter(
    "platformd_actor_failures", "Actors that raised and were replaced, by kind.", kind=ACTORS
)
QUARANTINES = _counter(
    "platformd_actor_quarantines", "Actors that failed too often and were shut off, by kind.", kind=ACTORS
)
DEAD_LETTERS = _counter("platformd_dead_letters", "Messages that no actor handled.")

LOG_LINES = _counter("platformd_log_lines", "Lines of output that were stored.")
ENGINE_SECONDS = Histogram(
    "platformd_engine_call_duration_seconds",
    "Calls of the Docker engine, by outcome.",
    ["outcome"],
    buckets=_CALLS,
    registry=REGISTRY,
)
for _outcome in ("ok", "refused", "away"):
    ENGINE_SECONDS.labels(_outcome)

API_REQUESTS = Counter(
    "platformd_api_requests",
    "Requests that the API has answered, by method and class of status.",
    ["method", "code"],
    registry=REGISTRY,
)
for _method in (*METHODS, "other"):
    for _code in CLASSES[1:5]:
        API_REQUESTS.labels(_method, _code)


def count_request(method: str, status: int) -> None:
    """One answer of the API."""
    API_REQUESTS.labels(method if method in METHODS else "other", f"{status // 100}xx").inc()


def count_exit(data: Mapping[str, object]) -> None:
    """One end of a task, as its event tells it."""
    if data.get("asked"):
        cause = "asked"
    elif data.get("oom_killed"):
        cause = "oom_killed"
    else:
        cause = "finished" if data.get("exit_code") == 0 else "failed"
    TASK_EXITS.labels(cause).inc()
    if cause != "asked" and data.get("next_try_in_secs") is not None:
        TASK_RESTARTS.inc()


def exposition(*collectors: Collector) -> bytes:
    """Everything as text: what is counted here, then what the `collectors` look up."""
    looked_up = CollectorRegistry()
    for collector in collectors:
        looked_up.register(collector)
    return generate_latest(REGISTRY) + generate_latest(looked_up)
