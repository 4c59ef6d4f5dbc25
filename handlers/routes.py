"""Every path of the API and who serves it, and the application and server made of them.

Called by the composition root once; the loop's thread.
"""

from __future__ import annotations

from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler

from handlers import (
    apps,
    artifacts,
    builds,
    dashboard,
    deployments,
    documents,
    domains,
    download,
    environments,
    events,
    git_source,
    logs,
    manual,
    promotions,
    supervision,
    system,
    tasks,
    tokens,
    trees,
    triggers,
    usage,
    webhooks,
)
from handlers.admission import Admission
from handlers.authentication import Authentication
from handlers.base import Handler, NotFoundHandler, log_request
from handlers.bodies import BodyCollector
from handlers.context import Context
from handlers.feeds import Feeds
from handlers.following import Following
from handlers.retries import InFlight
from handlers.sse import Streams
from handlers.uploading import Uploading

ID = r"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})"
SEGMENT = r"([^/]+)"
SLUG = r"([a-z0-9-]{1,32})"
API = "/api/v1"

ROUTES: tuple[
    tuple[str, type[Handler]], ...
] = (  # tried one after the other: what is asked for most comes first
    (rf"{API}/deployments/{ID}", deployments.OneDeploymentHandler),
    (r"/", dashboard.DashboardHandler),
    (r"/dashboard/([a-z0-9./-]+)", dashboard.DashboardFileHandler),
    (r"/healthz", system.HealthHandler),
    (r"/readyz", system.ReadyHandler),
    (r"/metrics", system.MetricsHandler),
    (r"/docs", manual.ManualHandler),
    (r"/docs/style\.css", manual.StyleHandler),
    (r"/docs/api", manual.ReferenceHandler),
    (rf"/docs/{SLUG}", manual.ManualPageHandler),
    (rf"{API}/version", system.VersionHandler),
    (rf"{API}/openapi.json", documents.OpenApiHandler),
    (rf"{API}/deployments/{ID}/promote", promotions.PromoteHandler),
    (rf"{API}/deployments/{ID}/cancel", deployments.CancelHandler),
    (rf"{API}/deployments/{ID}/wake", deployments.WakeHandler),
    (rf"{API}/deployments/{ID}/sleep", deployments.SleepHandler),
    (rf"{API}/deployments/{ID}/restart", deployments.RestartHandler),
    (rf"{API}/deployments/{ID}/keep-awake", deployments.KeepAwakeHandler),
    (rf"{API}/deployments/{ID}/logs", logs.LogsHandler),
    (rf"{API}/deployments/{ID}/logs/stream", logs.StreamHandler),
    (rf"{API}/deployments/{ID}/events", events.DeploymentEventsHandler),
    (rf"{API}/events", events.EventsHandler),
    (rf"{API}/webhooks/github", webhooks.GitHubWebhookHandler),
    (rf"{API}/tokens", tokens.TokensHandler),
    (rf"{API}/tokens/{ID}", tokens.TokenHandler),
    (rf"{API}/stream-tickets", tokens.TicketsHandler),
    (rf"{API}/actors", supervision.ActorsHandler),
    (rf"{API}/actors/{SEGMENT}", supervision.ActorHandler),
    (rf"{API}/actors/{SEGMENT}/restart", supervision.RestartActorHandler),
    (rf"{API}/actors/{SEGMENT}/resume", supervision.ResumeActorHandler),
    (rf"{API}/dead-letters", supervision.DeadLettersHandler),
    (rf"{API}/usage", usage.UsageHandler),
    (rf"{API}/deployments/{ID}/usage", usage.DeploymentUsageHandler),
    (rf"{API}/tasks/{ID}/usage", usage.TaskUsageHandler),
    (rf"{API}/nodes", supervision.NodesHandler),
    (rf"{API}/deployments/{ID}/tasks", tasks.TasksOfDeploymentHandler),
    (rf"{API}/deployments", deployments.DeploymentsHandler),
    (rf"{API}/apps/{ID}/rollback", promotions.RollbackHandler),
    (rf"{API}/apps/{ID}/environments/{SLUG}/release", promotions.ReleaseHandler),
    (rf"{API}/apps/{ID}/deployments", deployments.DeploymentsOfAppHandler),
    (rf"{API}/apps/{ID}/environments", environments.EnvironmentsHandler),
    (rf"{API}/apps/{ID}/environments/{SLUG}", environments.EnvironmentHandler),
    (rf"{API}/apps/{ID}/environments/{SLUG}/env", environments.EnvironmentVariablesHandler),
    (rf"{API}/apps/{ID}/env", environments.VariablesHandler),
    (rf"{API}/apps/{ID}/custom-domains", domains.DomainsHandler),
    (rf"{API}/apps/{ID}/custom-domains/{ID}", domains.DomainHandler),
    (rf"{API}/apps/{ID}/source", git_source.SourceHandler),
    (rf"{API}/apps/{ID}/deploy/trigger", triggers.TriggerHandler),
    (rf"{API}/apps/{ID}/webhook-deliveries", webhooks.DeliveriesHandler),
    (rf"{API}/apps/{ID}/registries", domains.RegistriesHandler),
    (rf"{API}/apps/{ID}/registries/{ID}", domains.RegistryHandler),
    (rf"{API}/apps/{ID}", apps.AppHandler),
    (rf"{API}/apps/by-subdomain/{SEGMENT}", apps.AppBySubdomainHandler),
    (rf"{API}/apps/(?!{ID[1:-1]}/){SEGMENT}/{SEGMENT}", apps.AppByKeyHandler),
    (rf"{API}/apps/{SEGMENT}", apps.NoAppHandler),
    (rf"{API}/apps", apps.AppsHandler),
    (rf"{API}/tasks/{ID}", tasks.TaskHandler),
    (rf"{API}/tasks/{ID}/stop", tasks.StopHandler),
    (rf"{API}/tasks/{ID}/logs", logs.TaskLogsHandler),
    (rf"{API}/tasks/{ID}/logs/stream", logs.TaskStreamHandler),
    (rf"{API}/tasks", tasks.TasksHandler),
    (rf"{API}/builds/{ID}", builds.BuildHandler),
    (rf"{API}/builds/{ID}/cancel", builds.CancelBuildHandler),
    (rf"{API}/builds/{ID}/logs", builds.BuildLogsHandler),
    (rf"{API}/builds/{ID}/logs/stream", builds.BuildStreamHandler),
    (rf"{API}/builds", builds.BuildsHandler),
    (rf"{API}/artifacts/{ID}", artifacts.ArtifactHandler),
    (rf"{API}/artifacts/{ID}/upload", artifacts.UploadHandler),
    (rf"{API}/artifacts/{ID}/download", download.DownloadHandler),
    (rf"{API}/artifacts", artifacts.ArtifactsHandler),
)

_IDLE_SECS = 75.0
_HEAD_READ = 1 << 20  # Tornado cuts the line beyond it without a word; below it we say 431
_UNLIMITED = 1 << 62  # bodies are bounded by their handlers, which can say 413


class Api(Application):
    """The API. `close` ends the open streams, each with a last event."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        admission = Admission(settings.host, settings.public_host, settings.cors_origin)
        authentication = Authentication(context.tokens, context.write_behind, settings.tokens_required)
        shared: dict[str, Any] = {
            "context": context,
            "admission": admission,
            "authentication": authentication,
            "in_flight": InFlight(),
        }
        self.streams = Streams()
        self.feeds = Feeds(context)
        uploading: set[str] = set()
        own: dict[type[Handler], dict[str, Any]] = {
            artifacts.ArtifactHandler: {"uploading": uploading},
            artifacts.UploadHandler: {"uploading": uploading},
            documents.OpenApiHandler: {"routes": ROUTES},
            manual.ReferenceHandler: {"routes": ROUTES},
        }
        for _, handler in ROUTES:
            if issubclass(handler, Following):
                own[handler] = {"feeds": self.feeds, "streams": self.streams}
        super().__init__(
            [(path, handler, shared | own.get(handler, {})) for path, handler in ROUTES],
            default_handler_class=NotFoundHandler,
            default_handler_args=shared,
            log_function=log_request,
        )

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        target_kwargs: dict[str, Any] | None = None,
        path_args: list[bytes] | None = None,
        path_kwargs: dict[str, bytes] | None = None,
    ) -> Any:
        if target_class is builds.BuildsHandler and trees.is_archive(request):
            target_class = trees.TreeHandler
        inner = super().get_handler_delegate(request, target_class, target_kwargs, path_args, path_kwargs)
        if issubclass(target_class, Uploading):
            return inner
        if issubclass(target_class, webhooks.GitHubWebhookHandler):
            return BodyCollector(request, inner, webhooks.LONGEST_PAYLOAD)
        return BodyCollector(request, inner)

    async def close(self) -> None:
        await self.streams.close()
        await self.feeds.close()


def make_app(context: Context) -> Api:
    """The API on `context`."""
    return Api(context)


def make_server(app: Api) -> HTTPServer:
    """A server for it that has no sockets yet: `add_sockets` those that listen."""
    return HTTPServer(
        app,
        idle_connection_timeout=_IDLE_SECS,
        max_header_size=_HEAD_READ,
        max_body_size=_UNLIMITED,
        chunk_size=64 << 10,
    )
