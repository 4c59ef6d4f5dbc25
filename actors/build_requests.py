"""Asking for builds: row first, then the queue and whoever is superseded hear of it.

Called by handlers on the loop's thread; each answer is durable. What is stored is announced by the commit itself, so a
caller that leaves meanwhile leaves nothing half done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from actors.build import BuildYard
from actors.commits import Commits
from actors.messages import Key, Lane, ShuttingDown
from actors.world import World
from platformd import clock
from platformd.domain.build import happenings
from platformd.domain.build import messages as m
from platformd.domain.build.orders import Delivered, RequestBuild, Wanted
from platformd.domain.build.state import Build, Origin
from platformd.domain.deployment import happenings as deployments
from platformd.domain.deployment.state import Deployment
from platformd.domain.notice import Notice
from platformd.domain.operations import CreateDeployment
from platformd.domain.requests import RequestKey
from platformd.domain.spec import promoted
from platformd.domain.variables import Precedence
from platformd.errors import Conflict
from platformd.store import building


class BuildRequests:
    """A build may take `timeout_secs`."""

    def __init__(self, commits: Commits, world: World, yard: BuildYard, timeout_secs: float) -> None:
        self._commits, self._world, self._yard = commits, world, yard
        self._timeout_secs = timeout_secs

    def under(self, key: RequestKey | None) -> BuildRequests:
        """The same for a request with this key."""
        return BuildRequests(self._commits.under(key), self._world, self._yard, self._timeout_secs)

    async def request(self, wanted: Wanted) -> Build:
        """Queue the build that is `wanted`, and cancel the queued ones that it supersedes; see `Wanted`.

        NotFound APP_NOT_FOUND, Conflict SOURCE_NOT_CONFIGURED. What became of it: its row, `build.` events, and
        `hub.wait_revision("build", …)`. With a `spec` its `deployment_id` is set once that is deployed."""
        return (await self._request(wanted)).build

    async def rebuild(self, source: Deployment, environment: str) -> Deployment:
        """A deployment in `environment` that waits for a new build of the commit that `source` was built from."""
        identity, commit = source.identity, source.commit
        if commit is None:
            raise Conflict(
                f"deployment {source.id} was built from no commit; promote it with the strategy instant",
                code="NO_COMMIT",
            )
        elsewhere = environment != identity.environment
        waiting = CreateDeployment(
            app_id=identity.app_id,
            environment=environment,
            spec=replace(promoted(source.spec, elsewhere=elsewhere), artifact_id=None, image=None),
            domain=self._yard.domain,
            at=clock.now(),
            steady=clock.steady(),
            precedence=Precedence.ENVIRONMENT if elsewhere else Precedence.DEPLOYMENT,
            commit=commit,
        )
        wanted = Wanted(
            app_id=identity.app_id, environment=environment, origin=Origin.REBUILD, ref=commit.sha
        )
        delivered = await self._request(wanted, waiting)
        assert delivered.made is not None
        return delivered.made

    def last_good(self, app_id: str, ref: str) -> Build | None:
        """The newest build that succeeded of a branch, tag or commit."""
        return building.last_good_build(self._world.store.reader, app_id, ref)

    async def _request(self, wanted: Wanted, waiting: CreateDeployment | None = None) -> Delivered:
        operation = RequestBuild(
            wanted=wanted, waiting=waiting, timeout_secs=self._timeout_secs, at=clock.now()
        )
        return await self._commits(operation, news, then=self.announce)

    def announce(self, delivered: Delivered) -> None:
        """Tell whom a build that was stored concerns. On the writer's thread."""
        with contextlib.suppress(ShuttingDown):  # the next start goes on with it
            if delivered.made is not None:
                self._yard.introduce(delivered.made)
            self._tell(delivered.build.id, m.Queued())
            if delivered.build.origin is Origin.WEBHOOK:
                for older in building.superseded_by(self._world.store.reader, delivered.build):
                    self._tell(older, m.Superseded(delivered.build.id))

    def _tell(self, build_id: str, fact: object) -> None:
        self._world.directory.tell(Key("build", build_id), fact, Lane.FACT)


def news(delivered: Delivered) -> Sequence[Notice]:
    """What people read of a build that was asked for."""
    queued = happenings.changed(delivered.build, "queued")
    return (queued,) if delivered.made is None else (deployments.created(delivered.made), queued)
