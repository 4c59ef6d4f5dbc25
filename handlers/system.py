"""How the service itself is: healthz and readyz, always public; metrics and version."""

from __future__ import annotations

from handlers import answers
from handlers.base import Handler
from handlers.operation import Content, Scope, operation
from handlers.sources import on_thread
from platformd import metrics
from platformd.errors import Unavailable


class HealthHandler(Handler):
    """`/healthz`: the loop turns."""

    @operation("Tell that the service runs", None, answers={200: answers.Health})
    def get(self) -> None:
        self.no_query()
        self.answer({"status": "ok"})


class ReadyHandler(Handler):
    """`/readyz`: 200 once requests can be served, degraded or not; 503 with what is missing before."""

    @operation(
        "Tell whether the service is ready",
        None,
        answers={200: answers.Readiness},
        problems=("503 NOT_READY",),
    )
    def get(self) -> None:
        self.no_query()
        state = self.context.ready()
        if not self.authentication.is_known(self.shown()[0]):
            state = {**state, "checks": {}}
        if state["ready"]:
            self.answer(state)
            return
        checks = state.get("checks", {})
        bad = [
            f"{name}: {check.get('detail') or check['status']}"
            for name, check in checks.items()
            if check["status"] == "unready"
        ]
        raise Unavailable("not ready; " + ("; ".join(bad) or "starting"), code="NOT_READY", retry_after=1)


class MetricsHandler(Handler):
    """`/metrics`."""

    @operation("Get the metrics", Scope.READ, answers={200: Content(("text/plain",))})
    async def get(self) -> None:
        """In Prometheus' text format."""
        self.no_query()
        text = await on_thread(self.context.metrics)
        self.set_header("Content-Type", metrics.CONTENT_TYPE)
        self.finish(text)


class VersionHandler(Handler):
    """`/api/v1/version`."""

    BOUND_CALLERS = True

    @operation("Get the version", Scope.READ, answers={200: answers.Version})
    def get(self) -> None:
        self.no_query()
        self.answer({"version": self.context.version, "api": "v1"})
