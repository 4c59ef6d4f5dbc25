"""Builds: ask for one, look at it, read and follow its log, cancel it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType

from handlers import answers, schemas, schemas_builds
from handlers import answers_builds as builds
from handlers.base import Handler
from handlers.context import Context
from handlers.entries import encoded_of_build, shown_of_build
from handlers.following import Following
from handlers.logs import selection_of
from handlers.operation import ARCHIVE, Scope, operation, stream_of
from handlers.paging import page_of
from handlers.sources import Line, LogSource
from handlers.specs import invalid
from platformd.domain.build.messages import Cancel
from platformd.domain.build.orders import Wanted
from platformd.domain.build.state import Origin
from platformd.errors import Fault, InvalidState, NotFound
from platformd.logstore import Entry

_NO_BUILD = "404 BUILD_NOT_FOUND"


ask_for_build = operation(
    "Build an app's source",
    Scope.DEPLOY,
    query=schemas_builds.TreeQuery,
    body=schemas_builds.NewBuild,
    instead=ARCHIVE,
    answers={202: builds.Build},
    problems=(
        "404 APP_NOT_FOUND",
        "409 SOURCE_NOT_CONFIGURED",
        "409 INVALID_STATE",
        "413 SOURCE_TOO_LARGE",
    ),
)


class Asking(Handler):
    """Of a build."""

    def wanted(
        self,
        app_id: str,
        environment: str,
        deployment_id: str | UnsetType,
        *,
        ref: str | None = None,
        upload: str | None = None,
    ) -> Wanted:
        """Refused when there is no such app, or no such deployment to fill in."""
        self.read(self.context.views.app, app_id)
        waiting = None if deployment_id is UNSET else self._to_be_filled(app_id, deployment_id.lower())
        return Wanted(
            app_id=app_id,
            environment=environment if waiting is None else waiting["environment_slug"],
            origin=Origin.API,
            deployment_id=None if waiting is None else waiting["id"],
            ref=ref,
            upload=upload,
        )

    def _to_be_filled(self, app_id: str, deployment_id: str) -> dict[str, Any]:
        """The deployment that is to be filled in, as the API shows it."""
        try:
            found = self.read(self.context.views.deployment, deployment_id)
        except NotFound as error:
            raise invalid([Fault("/deployment_id", error.message)]) from None
        if found["app_id"] != app_id:
            raise invalid([Fault("/deployment_id", f"deployment {deployment_id} is of another app")])
        if found["phase"] != "waiting_for_build":
            raise InvalidState(
                f"deployment {deployment_id} does not wait for a build: it is {found['phase']}"
            )
        return found

    async def queue(self, wanted: Wanted) -> None:
        build = await self.durable(self.builds.request(wanted))
        self.answer(self.context.built.render_build(build), 202, location=f"/api/v1/builds/{build.id}")


class BuildsHandler(Asking):
    """`/builds`. A tree is taken by `handlers.trees.TreeHandler`."""

    BOUND_CALLERS = True
    body_types = f"application/json, or an archive as {', '.join(ARCHIVE.types)}"

    @operation(
        "List builds",
        Scope.READ,
        query=schemas_builds.BuildsQuery,
        answers={200: answers.Page[builds.Build]},
    )
    def get(self) -> None:
        query = self.query(schemas_builds.BuildsQuery)
        app_id = self.caller.app_id if query.app_id is UNSET else query.app_id.lower()
        if app_id is not None:
            self.admit_app(app_id)
        wanted = {"app_id": app_id, "state": None if query.state is UNSET else query.state}
        self.answer(self.read(self.context.built.builds, page_of(query), wanted))

    @ask_for_build
    async def post(self) -> None:
        """From its repository, or of a tar archive (plain or packed by gzip, bzip2 or xz) that is sent instead of JSON;
        the query then says for which app. What it makes fills in `deployment_id`, else the newest deployment of the
        environment that waits for a build, if there is one; it is kept for `skip_build` in any case."""
        body = self.body(schemas_builds.NewBuild)
        self.no_query()
        app_id = body.app_id.lower()
        self.admit_app(app_id)
        ref = None if body.ref is UNSET else body.ref
        await self.queue(self.wanted(app_id, body.environment, body.deployment_id, ref=ref))


class BuildHandler(Handler):
    """`/builds/:id`."""

    @operation(
        "Get a build",
        Scope.READ,
        query=schemas.WaitQuery,
        answers={200: builds.Build},
        problems=(_NO_BUILD,),
    )
    async def get(self, build_id: str) -> None:
        self.answer(await self.long_poll("build", build_id, self.context.built.build))


class CancelBuildHandler(Handler):
    """`/builds/:id/cancel`."""

    @operation(
        "Cancel a build",
        Scope.DEPLOY,
        body=schemas.Nothing,
        optional_body=True,
        answers={200: builds.Build},
        problems=(_NO_BUILD, "409 INVALID_STATE"),
    )
    async def post(self, build_id: str) -> None:
        """Nothing of it runs any more once its phase is `done`. Again: the same build."""
        self.no_query()
        self.no_body()
        self.read(self.context.built.build, build_id)
        changed = await self.ask("build", build_id, Cancel())
        self.answer(self.context.built.render_build(changed))


class BuildLogsHandler(Handler):
    """`/builds/:id/logs`: a bare array, oldest first."""

    @operation(
        "Get a build's log",
        Scope.READ,
        query=schemas.TaskLogsQuery,
        answers={200: list[builds.BuildLogEntry]},
        problems=(_NO_BUILD,),
    )
    async def get(self, build_id: str) -> None:
        query = self.query(schemas.TaskLogsQuery)
        self.read(self.context.built.build, build_id)
        selection = selection_of(query)
        found = BuildLog(build_id).entries(self.context, **selection)
        entries = [] if query.tail == 0 else await self.unless_closed(self.durable(found))
        self.answer([shown_of_build(entry) for entry in entries])


class BuildStreamHandler(Following):
    """`/builds/:id/logs/stream`."""

    @operation(
        "Follow a build's log",
        Scope.READ,
        query=schemas.TaskStreamQuery,
        answers={200: stream_of(builds.BuildLogEntry), 204: None},
        problems=(_NO_BUILD,),
    )
    async def get(self, build_id: str) -> None:
        query = self.query(schemas.TaskStreamQuery)
        self.read(self.context.built.build, build_id)
        await self.stream(BuildLog(build_id), tail=query.tail, after=query.after)


@dataclass(frozen=True, slots=True)
class BuildLog(LogSource):
    """A build's log lies where that of a deployment with its id would."""

    def watched(self, context: Context) -> tuple[str, int]:
        return "build", context.built.build(self.deployment_id)["revision"]

    def encoded(self, entries: Sequence[Entry]) -> list[Line]:
        return encoded_of_build(entries)

    def ended(self, context: Context, /) -> dict[str, Any] | None:
        try:
            build = context.built.build(self.deployment_id)
        except NotFound:
            return {"state": "deleted"}
        return {"state": build["state"]} if build["phase"] == "done" else None
